"""One module for each claim: ``run(host) -> list[Line]``. Start with ``latency.py``."""
