"""A sweep that takes seconds: two rows on noise, two trials."""

TABLE = """
name: tiny
title: Two rows on noise
trials: 2
options: {network: smallcnn, checkpoint_freq: 0}
hparams: {teacher.steps: 2, teacher.batch_size: 4}
parts: [{title: Debug28, dataset: Debug28, columns: {"0": first}}]
rows:
  - {label: ERM, algorithm: ERM, options: {steps: 2}, hparams: {batch_size: 4}}
  - {label: Mean, algorithm: AvgPred}
"""
