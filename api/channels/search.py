"""Searches in one's channels."""

from typing import Annotated, Any, Final

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from api.channels.messages import PAGE, require_page
from api.request.caller import Caller
from commands.channels.channel_reader import ChannelReader

Position = Annotated[int | None, QueryParameter(ge=0, le=2**63 - 1, required=False)]
TEXT_MAX: Final = 2_000


class ChannelSearchController(Controller):
    path = "/api/v1/channels/search"
    tags = ("channels",)

    @get("/")
    async def search(
        self,
        caller: NamedDependency[Caller],
        channel_reader: NamedDependency[ChannelReader],
        text: Annotated[str, QueryParameter(max_length=TEXT_MAX, required=False)] = "",
        skip: FromQuery[int] = 0,
        limit: FromQuery[int] = PAGE,
        before: Position = None,
        at_least: Position = None,
    ) -> list[dict[str, Any]]:
        """Messages that have all words of ``text``, in the channels that the caller may read now, the newest first.

        Case and accents do not count. "Words in quotes" stand one after the other; of the last word the beginning will do. `in:CHANNEL`,
        `from:NAME` (or an id, or `me`), `has:file`, `has:image`, `has:link`, `before:` and `after:` a day or a time. ``before``: below this
        position, so that no insert moves a page.
        """
        require_page(skip, limit)
        return await channel_reader.search(caller.actor, text, below=before, offset=skip, limit=limit, at_least=at_least)
