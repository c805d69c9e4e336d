"""Algorithms: one file a method, and that file is the whole truth: class, hparams, paper, limits."""
