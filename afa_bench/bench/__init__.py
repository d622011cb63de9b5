"""Measurements of speed and memory: one file a subject, each with the function that is its command below ``afa-bench bench``."""
