"""Stages that several methods share: train a step-wise method, invert, fuse, distil, combine."""
