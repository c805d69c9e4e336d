"""Datasets: one file a dataset or family; they know no algorithm."""
