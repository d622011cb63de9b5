"""afa-bench: a benchmark and evaluation harness for ensembles and merges of diffusion models."""

__version__ = "0.1.0"
