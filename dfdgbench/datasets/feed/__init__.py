"""How training and evaluation read a split: decoded images, stores of them, augmentation, batches."""
