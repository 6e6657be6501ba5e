"""``steno serve``, ``verify``, ``projections``: a server and its data."""
