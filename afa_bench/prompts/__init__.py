"""Prompt sets: what a model is asked for, and the real images that answer it where there are any."""
