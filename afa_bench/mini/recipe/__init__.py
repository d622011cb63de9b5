"""How the zoo was made: its data, its trainings, its constants (``afa-bench mini build``)."""
