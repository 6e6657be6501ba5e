"""``steno``, the command line: one module for each group of commands. ``main.py`` puts them together.

``login.py`` chooses the server and signs the caller in. ``answer_text.py`` and ``parallel_answers.py`` turn events into the text that
is printed, and do no IO.
"""
