"""A denoiser seen as a list of blocks."""
