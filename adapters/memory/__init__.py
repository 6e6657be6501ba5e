"""The in-memory twins of the adapters, for tests that need no database. One contract suite holds them to the same promises."""
