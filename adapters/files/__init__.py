"""Files that are larger than memory: read piece by piece, or written so that each is whole or not there."""
