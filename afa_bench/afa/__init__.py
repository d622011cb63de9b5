"""Adaptive Feature Aggregation: the ensemble, its aggregator (SABW), their training and the method."""
