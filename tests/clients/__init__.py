"""Other people's clients, from their packages, on a real server."""
