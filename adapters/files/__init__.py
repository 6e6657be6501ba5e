"""Files that are larger than memory, read piece by piece."""
