"""Merging of weights: the names of tensors as data, the forms of a merge, and the streaming of whole checkpoints."""
