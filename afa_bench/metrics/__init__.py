"""Metrics: numbers from image features, and the models that give these features."""
