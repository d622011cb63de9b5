"""Results to hand on: what a model hub reads, and a submission that someone else can check. Imports no torch."""
