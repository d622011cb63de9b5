"""The official metric packages' own loops, run in an interpreter of their own, to compare values and speed with."""
