"""What clients of Open WebUI ask for besides chats: what this server is, pictures, tasks of a model, and the lists of what is not here.

Start with ``instance.py``. What behaves differently from the original is in ``docs/deviations.md``.
"""
