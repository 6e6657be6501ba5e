"""What Postgres holds and does, as plain SQL, one object a file.

``migrations/NNNN_name.sql`` run once each, in order, and are never edited once shared; ``functions/*.sql`` are created anew when
their text changes; ``views/*.sql`` are what analysts see;
``queries/*.sql`` are named statements that both drivers load with aiosql. Start with ``migrations/0001…``.
"""

from pathlib import Path


def folder() -> Path:
    """The folder that holds ``migrations``, ``functions`` and ``queries``, in a checkout and in an installed wheel alike."""
    return Path(__file__).resolve().parent
