"""Runs projections: ``writer.py`` writes their tables batch by batch, ``live.py`` keeps them up to date beside a server, ``rebuild.py`` and
``compare.py`` replay the log into tables of their own (``replay.py``), ``checkpoints.py`` is what an operator sees and changes.
"""
