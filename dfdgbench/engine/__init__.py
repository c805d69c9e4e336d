"""The engine: stages, artifacts, snapshots, the loop, evaluation, records. It knows no concrete algorithm."""
