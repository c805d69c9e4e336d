"""Getting datasets: downloads, archives, and moving what is whole into place. Nothing here imports torch."""
