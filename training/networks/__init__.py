"""The three networks, their tokenizers, and their files."""
