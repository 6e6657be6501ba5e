"""A process whose answers pass filters."""

from collections.abc import AsyncIterator

import pytest

from tests.commands.generation.filtered import There


@pytest.fixture
async def there() -> AsyncIterator[There]:
    yield There()
