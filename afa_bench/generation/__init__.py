"""Samples to images: the generator, which is the one place where denoisers run, and the engines, which run the shards."""
