"""Answers of models: the turn that a question begins (``completion.py``), one run (``run.py``) and the blocks of its answer
(``answer_builder.py``), and all runs of a process (``runs.py``).
"""
