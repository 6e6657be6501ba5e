"""Requests to providers over HTTP: connections, retries, refusals, and bytes as lines and frames."""
