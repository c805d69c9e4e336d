"""Reading what is on disk: listing trees, decoding files, the formats data sets are published in. Nothing here imports torch."""
