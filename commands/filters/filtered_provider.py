"""A provider behind the filters of one answer."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from commands.filters.filter_steps import Keep
from commands.filters.filters import Chain, Note
from commands.providers.provider import Model, Part, Provider, ProviderRequest
from domain.errors import FilterRefused, Refusal

# Who answers for a model that a filter has chosen, and the request as that one is sent it. Raises ``Refusal``.
Choose = Callable[[str, ProviderRequest], Awaitable[tuple[Provider, ProviderRequest]]]


class FilteredProvider:
    """A provider as a run meets it behind the filters of its answer: asking it runs the inlet, and each read passes the stream filters."""

    def __init__(self, provider: Provider, chain: Chain, *, keep: Keep, note: Note, choose: Choose, message_id: str, created: int) -> None:
        self._provider = provider
        self._chain = chain
        self._keep = keep
        self._note = note
        self._choose = choose
        self._message_id = message_id
        self._created = created

    async def models(self) -> Sequence[Model]:
        return await self._provider.models()

    async def stream(self, ask: ProviderRequest) -> AsyncGenerator[list[Part], None]:
        chain, provider = self._chain, self._provider
        ask, model = await chain.inlet(ask, self._keep, self._note)
        if model is not None:
            try:
                provider, ask = await self._choose(model, ask)
            except Refusal as refusal:
                raise FilterRefused(model, refusal) from None
        await chain.begin_stream(self._message_id, self._created)
        reads = provider.stream(ask)
        try:
            if not chain.sees_chunks:
                async for parts in reads:
                    yield parts
            else:
                async for parts in reads:
                    left = await chain.stream(parts)
                    if left:
                        yield left
        finally:
            await reads.aclose()
