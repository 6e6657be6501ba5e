"""Filters on servers of their own.

A server lists what it has at ``GET /v1/models``, each entry with a key ``pipeline``; a filter is asked by
``POST /{id}/filter/inlet`` and ``…/outlet`` with ``{user, body}``, and answers with the body.
Source: https://github.com/open-webui/pipelines (``main.py``).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec
import structlog

from adapters.providers.http.http import FAILURES, Endpoint, Patience, bounded_body
from commands.filters.pipelines import Pipeline, PipelineSkipped, PipelineStage
from domain.errors import PipelineFailed, ProviderFailed
from domain.log.codec import UNREADABLE

LIST_FRESH_S: Final = 10.0  # a list is used as it is; an older one is asked for again beside the requests that use it
LIST_KEPT_S: Final = 300.0  # for how long a server that has gone silent is still asked by its last list
BODY_BYTES_MAX: Final = 64 * 1024 * 1024
LIST_S: Final = 10.0  # for a list, the connection included

logger = structlog.get_logger("pipelines")


class PipelinesServer:
    """One server. ``url`` with or without ``/v1``. ``clock`` gives seconds that only go forward."""

    def __init__(
        self, client: httpx.AsyncClient, url: str, api_key: str, number: int, patience: Patience, clock: Callable[[], float]
    ) -> None:
        base_url = url.rstrip("/").removesuffix("/v1")
        authorization = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self.name = f"pipelines server {number + 1}"
        self._endpoint = Endpoint(client, base_url, authorization, api_key, patience)
        self._number = number
        self._clock = clock
        self._listed: Sequence[Pipeline] = ()
        self._listed_s: float | None = None  # when the list came
        self._tried_s: float | None = None
        self._failure: str | None = None
        self._asking: asyncio.Task[None] | None = None

    async def listed(self) -> tuple[Sequence[Pipeline], str | None]:
        """What it has, and why it could not be asked where that is so. Only the first request waits for a list."""
        now_s = self._clock()
        is_due = self._tried_s is None or now_s - self._tried_s > LIST_FRESH_S
        if is_due and (self._asking is None or self._asking.done()):
            self._tried_s = now_s
            self._asking = asyncio.create_task(self._ask(), name=f"list of {self.name}")
        if self._listed_s is None and self._asking is not None:
            await asyncio.wait([self._asking])
        if self._failure is None:
            return self._listed, None
        is_known = self._listed_s is not None and now_s - self._listed_s < LIST_KEPT_S
        return (self._listed, None) if is_known else ((), self._failure)

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(LIST_S):
                self._listed = pipelines_of(await self._endpoint.fetched("/v1/models"), self._number)
        except (ProviderFailed, TimeoutError, *UNREADABLE) as error:
            self._failure = str(error) or f"no list within {LIST_S:g} s"
            detail = error.private if isinstance(error, ProviderFailed) else self._failure
            logger.warning("pipelines_not_listed", server=self.name, detail=detail)
            return
        self._listed_s, self._failure = self._clock(), None

    async def call(self, pipeline: Pipeline, stage: PipelineStage, body: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
        endpoint = self._endpoint
        content = msgspec.json.encode({"user": user, "body": body})
        headers = {"content-type": "application/json", **endpoint.headers}
        url = f"{endpoint.base_url}/{quote(pipeline.id, safe='')}/filter/{stage}"
        patience_s = endpoint.patience.idle_s
        try:
            async with asyncio.timeout(endpoint.patience.connect_s + patience_s):
                request = endpoint.client.build_request("POST", url, content=content, headers=headers, timeout=endpoint.timeout(patience_s))
                response = await endpoint.client.send(request, stream=True)
                try:
                    said, is_whole = await bounded_body(response, BODY_BYTES_MAX)
                finally:
                    await response.aclose()
        except FAILURES as error:
            failure = endpoint.translated(error)
            logger.warning("pipeline_not_asked", pipeline=pipeline.id, detail=failure.private)
            raise PipelineSkipped(str(failure)) from None
        except TimeoutError:
            raise PipelineSkipped(f"no answer within {patience_s:g} s") from None
        if not is_whole:
            raise PipelineSkipped(f"expected at most {BODY_BYTES_MAX} bytes, received more")
        return self._answer(pipeline, response.status_code, said)

    def _answer(self, pipeline: Pipeline, status: int, said: bytes) -> dict[str, Any]:
        try:
            answer = msgspec.json.decode(said)
        except UNREADABLE:
            answer = None
        if 200 <= status < 300:
            if not isinstance(answer, dict):
                raise PipelineSkipped("its answer is no body: expected a JSON object")
            return answer
        detail = answer.get("detail") if isinstance(answer, dict) else None
        if not detail:
            raise PipelineSkipped(f"HTTP {status} without a detail")
        text = detail if isinstance(detail, str) else msgspec.json.encode(detail).decode()
        failure = self._endpoint.failed("pipeline_failed", text, {"status": status, "message": text})
        logger.warning("pipeline_refused", pipeline=pipeline.id, status=status, detail=failure.private)
        raise PipelineFailed(pipeline.id, str(failure), failure.said, private=failure.private)


class HttpPipelines:
    """All configured servers, in the order of the settings."""

    def __init__(self, servers: Sequence[PipelinesServer]) -> None:
        self._servers = servers

    @property
    def is_empty(self) -> bool:
        return not self._servers

    async def filters(self) -> tuple[Sequence[Pipeline], Mapping[str, str]]:
        lists = await asyncio.gather(*(server.listed() for server in self._servers))
        unreachable = {server.name: why for server, (_, why) in zip(self._servers, lists, strict=True) if why is not None}
        return [pipeline for listed, _ in lists for pipeline in listed], unreachable

    async def call(self, pipeline: Pipeline, stage: PipelineStage, body: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
        return await self._servers[pipeline.server].call(pipeline, stage, body, user)


def pipelines_of(listed: bytes, server: int) -> list[Pipeline]:
    """The entries that are pipelines. Raises one of ``UNREADABLE`` for what is no JSON."""
    match msgspec.json.decode(listed):
        case {"data": list() as entries}:
            return [pipeline for entry in entries if (pipeline := pipeline_of(entry, server)) is not None]
        case _:
            return []


def pipeline_of(entry: Any, server: int) -> Pipeline | None:
    match entry:
        case {"id": str() as pipeline_id, "pipeline": {"type": "filter", **rest}} if pipeline_id:
            models = rest.get("pipelines")
            priority = rest.get("priority")
            return Pipeline(
                id=pipeline_id,
                server=server,
                models=[one for one in models if isinstance(one, str)] if isinstance(models, list) else (),
                priority=priority if isinstance(priority, int | float) else 0,
            )
        case {"id": str() as pipeline_id, "pipeline": dict()} if pipeline_id:
            return Pipeline(id=pipeline_id, server=server, is_filter=False)
        case _:
            return None
