"""Results on disk: layout, atomic writes, rows. Files are the truth: what is not in a file has not been done."""
