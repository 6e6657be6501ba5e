"""Import, export and restore, which commands run beside the servers: they write many events at once and read whole logs."""
