"""Mixtures of experts (the paper, appendix F): a router picks a model for each row, before every block or once a step."""
