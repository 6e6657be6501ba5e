"""A log with a projector and a reader; and how its messages are stored."""

from collections.abc import Iterator

import pytest

from projections import changing_chat, chat_tree
from tests.adapters.postgres.reading.history_world import World


@pytest.fixture
def world(database: str) -> Iterator[World]:
    made = World(database)
    yield made
    made.close()


@pytest.fixture(params=["small bodies", "changes that are noted"])
def storing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How messages are stored: anew at each change, as small ones are, or with their changes only noted for some time."""
    if request.param == "changes that are noted":
        for module, name in ((chat_tree, "SMALL_BYTES"), (changing_chat, "SMALL_BYTES"), (changing_chat, "OPEN_BYTES")):
            monkeypatch.setattr(module, name, 0)
        monkeypatch.setattr(changing_chat, "EVENT_BYTES", 1)
