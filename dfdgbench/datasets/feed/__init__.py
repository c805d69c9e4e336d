"""How training and evaluation read a split: decoded images, stores of them, augmentation, batches."""

from dfdgbench.datasets.feed.images import ImageCache, ImageTransform, eval_transform, to_float, train_transform
from dfdgbench.datasets.feed.training import Batch, Split, TrainingFeed, balanced_weights, evaluation_batches

__all__ = [
    "Batch",
    "ImageCache",
    "ImageTransform",
    "Split",
    "TrainingFeed",
    "balanced_weights",
    "eval_transform",
    "evaluation_batches",
    "to_float",
    "train_transform",
]
