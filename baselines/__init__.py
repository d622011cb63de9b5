"""The methods that AFA is compared with: single models, merges of weights, and ensembles without training."""
