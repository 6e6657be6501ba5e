"""What people make and say of models, and the groups that it is shared with: ``/api/v1/models`` and ``/api/v1/groups``.

Start with ``entries.py``. Which models there are to ask is ``api/completions/models.py``; the rules are in ``commands/routing/``.
"""
