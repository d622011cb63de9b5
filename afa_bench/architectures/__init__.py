"""The families of models: what a pipeline of each consists of, how it reads texts, what it predicts, how its blocks run."""
