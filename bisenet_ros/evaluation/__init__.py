"""Evaluation of a model on a dataset: scores and plots."""
