"""Scores of a model on a dataset, and their pictures."""
