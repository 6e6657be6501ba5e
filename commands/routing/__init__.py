"""Which model a request reaches: the models and groups there are, who may use them, and the order in which they are looked for.

Start at ``route.py``, what comes out of it, then ``router.py``. ``commands/generation`` works with the result; nothing here imports it.
"""
