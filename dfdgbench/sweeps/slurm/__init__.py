"""What is particular to SLURM: its programs' calls, and what was handed to it."""
