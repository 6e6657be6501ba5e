"""The dependencies of a request, which Litestar provides in a task for each unless it is told otherwise."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from litestar import Litestar, get
from litestar.di import NamedDependency, Provide

from api.app import provide_in_turn

pytestmark = pytest.mark.anyio


def none(_: Litestar) -> None:
    """The app as Litestar makes it."""


@pytest.mark.parametrize(("change", "tasks_max"), [(provide_in_turn, 1), (none, 3)])
async def test_they_are_provided_in_the_task_of_their_request(change: Callable[[Litestar], None], tasks_max: int) -> None:
    provided: list[tuple[str, Any]] = []

    async def one() -> int:
        provided.append(("one", asyncio.current_task()))
        return 1

    async def other() -> int:
        provided.append(("other", asyncio.current_task()))
        return 2

    async def both(one: NamedDependency[int], other: NamedDependency[int]) -> int:
        provided.append(("both", asyncio.current_task()))
        return one + other

    @get("/", dependencies={"one": Provide(one), "other": Provide(other), "both": Provide(both)})
    async def handler(both: NamedDependency[int]) -> int:
        provided.append(("handler", asyncio.current_task()))
        return both

    app = Litestar([handler], openapi_config=None)
    change(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/")).text == "3"
    names = [name for name, _ in provided]
    assert sorted(names[:2]) == ["one", "other"]
    assert names[2:] == ["both", "handler"]
    assert len({task for _, task in provided}) == tasks_max
