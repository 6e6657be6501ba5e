"""Answers of models: the turn that a question begins (``completion.py``), one run (``run.py``), and all runs of a process (``runs.py``)."""
