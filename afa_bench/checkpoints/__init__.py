"""Files of weights: hashed, checked, read and written a tensor at a time."""
