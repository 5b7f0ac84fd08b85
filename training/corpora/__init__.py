"""Corpora: each reader turns what is on disk into utterances, and says by name what it could not read."""
