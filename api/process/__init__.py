"""A server process: start and end (``serve.py``), several of them (``supervisor.py``), health, metrics and logs."""
