"""What all requests share: who calls, idempotency keys, ids from clients, and the table from errors to answers."""
