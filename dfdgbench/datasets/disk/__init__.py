"""What is on disk: listing trees, decoding files, downloading, unpacking, verifying. Nothing here imports torch."""
