"""Saying what is there: the quick status, and verifying every file. Nothing here imports torch."""
