"""A run becomes a version: graphs, proofs, manifest and card."""
