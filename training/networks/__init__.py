"""The three networks, their pretrained encoders, tokenizers and files."""
