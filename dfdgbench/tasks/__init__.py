"""Tasks: how a batch is scored while training and when it is evaluated, and under which record keys."""
