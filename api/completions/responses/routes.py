"""``/v1/responses``."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final, Literal

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Stream as StreamResponse

from adapters.delivery.hub import Batch
from api.completions.answering import refused, streamed
from api.completions.responses.events import ResponseEvents, frame
from api.completions.responses.service import FoundResponse, Responses
from api.request.bodies import CONTENT_BYTES
from api.request.caller import Caller
from api.streams import sse
from commands.accounts.principal import Principal
from domain.errors import BadRequest

ITEMS_MAX: Final = 100
Limit = Annotated[int, QueryParameter(ge=1, le=ITEMS_MAX, required=False)]
After = Annotated[int, QueryParameter(ge=-1, required=False)]


class ResponsesController(Controller):
    path = "/v1/responses"
    tags = ("openai",)

    @post("/", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def create(
        self,
        data: JSONBody[dict[str, Any]],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        responses: NamedDependency[Responses],
    ) -> Response[Any]:
        """Ask a model. The answer is logged in a chat: a new one that no list shows, or the one that the request goes on in."""
        found = await responses.begin(data, caller)
        background = bool(data.get("background"))
        if background and not data.get("stream"):
            return Response((await responses.whole(found)).response())
        events = found.events()
        frames = frames_of(events, responses.tail(caller.principal, found, sse.PING_S))
        if not data.get("stream"):
            async for _ in frames:
                pass
            failed_at_once = events.failure is not None and not events.has_content
            return refused(request, events.failure) if events.failure and failed_at_once else Response(events.response())
        first = b""
        if not background:  # the status waits for what the model says first: where the provider refuses instead, that is the answer
            async for chunk in frames:
                first += chunk
                if events.has_content or events.over or chunk == sse.PING:
                    break
            if events.failure is not None and not events.has_content:
                await frames.aclose()
                return refused(request, events.failure)
        return stream_response(streamed(first, frames, end=b""), found)

    @get("/{response_id:str}")
    async def retrieve(
        self,
        response_id: FromPath[str],
        principal: NamedDependency[Principal],
        responses: NamedDependency[Responses],
        stream: FromQuery[bool] = False,
        starting_after: After = -1,
    ) -> Response[Any]:
        """The response as it is now; with ``stream`` its events after number ``starting_after`` and those to come, at any age of it."""
        found = await responses.find(principal, response_id)
        if not stream:
            return Response((await responses.whole(found)).response())
        frames = frames_of(found.events(), responses.tail(principal, found, sse.PING_S), starting_after)
        return stream_response(streamed(b"", frames, end=b""), found)

    @delete("/{response_id:str}", status_code=200)
    async def delete_response(
        self, response_id: FromPath[str], caller: NamedDependency[Caller], responses: NamedDependency[Responses]
    ) -> dict[str, Any]:
        """Delete the answer, which is stopped first, and its question."""
        await responses.delete(caller, response_id)
        return {"id": response_id, "object": "response", "deleted": True}

    @post("/{response_id:str}/cancel", status_code=200)
    async def cancel(
        self, response_id: FromPath[str], caller: NamedDependency[Caller], responses: NamedDependency[Responses]
    ) -> dict[str, Any]:
        """Stop the answer, wherever in the cluster it runs. Safe to repeat: one that has ended stays as it is."""
        return (await responses.cancel(caller, response_id)).response()

    @get("/{response_id:str}/input_items")
    async def input_items(
        self,
        response_id: FromPath[str],
        principal: NamedDependency[Principal],
        responses: NamedDependency[Responses],
        limit: Limit = 20,
        order: FromQuery[Literal["asc", "desc"]] = "desc",
        after: FromQuery[str | None] = None,
    ) -> dict[str, Any]:
        """What the model was asked, item by item."""
        items = await responses.input_items(principal, response_id)
        if order == "desc":
            items.reverse()
        if after is not None:
            at = next((at for at, item in enumerate(items) if item["id"] == after), None)
            if at is None:
                raise BadRequest(f"expected after as the id of an item of the list, received {after[:100]!r}", param="after")
            items = items[at + 1 :]
        page = items[:limit]
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        return {"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": len(page) < len(items)}


async def frames_of(events: ResponseEvents, batches: AsyncGenerator[Batch, None], after: int = -1) -> AsyncGenerator[bytes, None]:
    """The frames of each batch whose numbers are above ``after``, and ``PING`` where nothing happens. Ends with the response."""
    try:
        async for batch in batches:
            made = [event for stored in batch.events for event in events.of(stored.stored)]
            chunk = b"".join(frame(event) for event in made if event["sequence_number"] > after)
            if chunk or not batch.events:
                yield chunk or sse.PING
            if events.over:
                break
    finally:
        await batches.aclose()


def stream_response(frames: AsyncGenerator[bytes, None], found: FoundResponse) -> StreamResponse:
    headers = {**sse.SSE_HEADERS, "x-chat-id": str(found.chat_id)}
    return StreamResponse(frames, media_type="text/event-stream", headers=headers)
