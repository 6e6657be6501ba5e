"""Routes for signing up and in, for keys and tickets, and for an admin's work on accounts."""
