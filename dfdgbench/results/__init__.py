"""Results: records to a tidy frame, to a selection, to tables, to text. Nothing here imports torch."""
