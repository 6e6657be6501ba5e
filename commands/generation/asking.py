"""A question of a function to a model: routed and checked like a person's, but no turn of a chat. Nothing of it is in the log."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

from commands.functions.call_context import CallContext
from commands.generation.model_settings import ModelSettings, asked, with_systems
from commands.providers.provider import Part, ProviderRequest
from commands.routing.route import Routes
from domain.errors import BadRequest
from domain.log.event import Actor

# Keys of a body that are about the request itself.
OWN_KEYS: Final = frozenset({"model", "messages", "stream", "metadata", "params", "chat_id", "id", "session_id", "files", "features"})


class ModelQuestions:
    def __init__(self, routes: Routes, settings: ModelSettings) -> None:
        self._routes = routes
        self._settings = settings

    async def answer(self, actor: Actor, body: Mapping[str, Any]) -> AsyncGenerator[list[Part], None]:
        """The parts of the answer to a body of chat completions. Raises what ``Routes.route`` raises, ``BadRequest``."""
        model, messages = body.get("model"), body.get("messages")
        if not isinstance(model, str) or not is_messages(messages):
            raise BadRequest("expected a model, and messages as a list of objects")
        assert isinstance(messages, list)
        routed = await self._routes.route(model, actor)
        given = body.get("params")
        settings = asked(
            self._settings,
            routed.model,
            {},
            given if isinstance(given, Mapping) else {},
            base_model_id=routed.base_model_id,
            entry=routed.settings,
        )
        ask = ProviderRequest(
            model=routed.upstream,
            messages=with_systems(settings.systems, messages),
            params={**settings.custom, **{name: value for name, value in body.items() if name not in OWN_KEYS and value is not None}},
            options=settings.options,
            context=CallContext(actor=actor),
        )
        return routed.provider.stream(ask)


def is_messages(given: object) -> bool:
    if not isinstance(given, Sequence) or not given:
        return False
    return all(isinstance(one, Mapping) and isinstance(one.get("role"), str) for one in given)
