"""An account as an aggregate, and the facts of a person's own stream. Start with ``facts.py`` (what can happen), then ``decide.py``.

Hashes of passwords and keys are not in events, since the log is replayed, exported and read by auditors.
"""
