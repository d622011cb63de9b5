"""Checkpoints: groups of models, their hashes, their loading."""
