"""A small server of pipelines, as ``open-webui/pipelines`` serves them: the list with a key ``pipeline``, and ``…/filter/inlet|outlet``.

Its answers follow that server's ``main.py``: 404 with a detail for a filter that it does not have, 500 with the exception's text as the
detail where a filter raises, the body as it is where a filter has no such method.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from tests.adapters.providers.scripted import Asked, Peer, Server, serving, whole

Does = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]  # (body, user) to the body


class Pipe:
    """One pipeline. ``models``: its valve ``pipelines``."""

    def __init__(self, type_: str = "filter", models: Any = ("*",), priority: Any = 0, **stages: Does) -> None:
        self.type = type_
        self.models = models
        self.priority = priority
        self.stages = stages

    def listed(self, pipeline_id: str) -> dict[str, Any]:
        filters = {"pipelines": list(self.models), "priority": self.priority} if self.type == "filter" else {}
        entry = {"id": pipeline_id, "name": pipeline_id.title(), "object": "model", "created": 1_700_000_000, "owned_by": "openai"}
        return {**entry, "pipeline": {"type": self.type, **filters, "valves": True}}


@asynccontextmanager
async def pipelines_server(pipes: Mapping[str, Pipe]) -> AsyncIterator[Server]:
    async def script(peer: Peer) -> None:
        while True:
            status, answer = answered(pipes, await peer.asked())
            await peer.send(whole(json.dumps(answer).encode(), status))

    async with serving(script) as server:
        yield server


def answered(pipes: Mapping[str, Pipe], asked: Asked) -> tuple[str, Any]:
    path = asked.path.removeprefix("/v1")
    if asked.method == "GET" and path == "/models":
        return "200 OK", {"data": [pipe.listed(one) for one, pipe in pipes.items()], "object": "list", "pipelines": True}
    _, pipeline_id, kind, stage = path.split("/")
    assert (asked.method, kind) == ("POST", "filter")
    assert asked.json.keys() == {"body", "user"}, "the server refuses other forms"
    known = pipes.get(unquote(pipeline_id))
    if known is None:
        return "404 Not Found", {"detail": f"Filter {pipeline_id} not found"}
    does = known.stages.get(stage)
    try:
        return "200 OK", asked.json["body"] if does is None else does(asked.json["body"], asked.json["user"])
    except Exception as error:  # noqa: BLE001  # as that server does
        return "500 Internal Server Error", {"detail": str(error)}
