"""How Postgres is reached: its address, one connection, the pool that queries go through, and the named queries themselves."""
