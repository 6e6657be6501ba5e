"""The port to providers: one streaming method, independent of the provider's own protocol.

A provider yields *reads*: all parts that one read of its connection brought, in order. So a run appends in one request what
arrived together, and a provider that is faster than the log is slowed by its own socket.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from commands.functions.call_context import CallContext


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model that can be asked for by ``id``."""

    id: str
    name: str
    owned_by: str  # "openai", "ollama", "demo": the kind of provider
    created: int = 0  # seconds since 1970; 0 if the provider gives none
    details: Mapping[str, Any] = {}


class ProviderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a provider: messages in OpenAI's form, and every other key of the caller's body in ``params``."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    params: Mapping[str, Any] = {}  # temperature, max_tokens, tools, stop, response_format, seed, …
    options: Mapping[str, Any] = {}  # settings under the reference's names: an adapter takes those that its provider knows
    context: CallContext | None = None  # where the answer is for whom: for what runs here, and never sent to a server
    reasoning_tags: Any = None  # the setting of that name: which tags mark reasoning in the text of the answer


class Text(msgspec.Struct, frozen=True, gc=False):
    text: str  # never empty; the provider's chunk unchanged


class Reasoning(msgspec.Struct, frozen=True, gc=False):
    text: str


class LeftOut(msgspec.Struct, frozen=True, gc=False):
    """What the model wrote and what belongs to no block: a tag around its reasoning, and the white space at it. No provider yields it;
    ``generation/reasoning_tags.py`` makes it of ``Text``.
    """

    text: str


class RefusalText(msgspec.Struct, frozen=True, gc=False):
    """What the model says where it refuses to answer, if the provider tells that apart from text."""

    text: str


class Audio(msgspec.Struct, frozen=True, gc=False):
    data: str  # the next piece, base64
    id: str | None = None  # as the provider named it


class Logprobs(msgspec.Struct, frozen=True):
    """The log probabilities of the text just before it, in OpenAI's form."""

    logprobs: Mapping[str, Any]


class File(msgspec.Struct, frozen=True):
    """Something the model made, as messages hold it: ``{"type": "image", "url"}``."""

    file: Mapping[str, Any]


class Source(msgspec.Struct, frozen=True):
    """What the answer refers to, as messages hold it: ``{"source": {"name", "url"}, …}``."""

    source: Mapping[str, Any]


class Extras(msgspec.Struct, frozen=True):
    """What else the provider said, by its own names: ``chunk``, ``choice`` and ``message`` for where it stood. Once, before the end."""

    fields: Mapping[str, Mapping[str, Any]]
    unknown: Sequence[str]  # the parts of the answer that are not understood, such as ``delta.foo``


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """The next piece of one tool call. Only its first piece has ``id`` and ``name``: it waits until the name is known."""

    index: int  # of the call in the answer, from 0
    arguments: str = ""  # the next piece of a JSON text
    id: str | None = None
    name: str | None = None


class Finish(msgspec.Struct, frozen=True, gc=False):
    reason: str  # "stop", "length", "tool_calls", "content_filter", or a provider's own


class Usage(msgspec.Struct, frozen=True):
    usage: Mapping[str, Any]  # as the provider gave it, plus input_tokens, output_tokens, total_tokens


class Skipped(msgspec.Struct, frozen=True, gc=False):
    """A chunk that could not be parsed. It is logged and skipped; the answer continues."""

    reason: str


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """The provider has refused for now, and is asked again. Only before the first part of an answer."""

    wait_s: float
    refusal: str  # its words


# gc=False above: these are made for every token and hold no containers, so the garbage collector can ignore them.
Part = Text | Reasoning | LeftOut | RefusalText | Audio | Logprobs | ToolCall | File | Source | Extras | Finish | Usage | Skipped | Waiting


# What a provider may fail with, as ``Provider`` says; the last one is for whatever else it raises.
PROVIDER_CODES: Final = (
    *("provider_unreachable", "provider_status", "provider_error", "provider_idle", "provider_endless", "provider_broke_off"),
    *("provider_garbage", "provider_filtered", "provider_empty", "provider_failed"),
)


class Provider(Protocol):
    """Raises ``ProviderFailed`` with one of the codes
    ``provider_unreachable`` (no connection in time), ``provider_status`` (refused, with its status and detail),
    ``provider_error`` (an error frame in mid-stream, or an end that says so), ``provider_idle`` (silent for longer than the bound),
    ``provider_endless`` (the answer took longer, or became larger, than any does),
    ``provider_broke_off`` (the stream ended without an end), ``provider_garbage`` (nothing of it could be understood),
    ``provider_filtered`` (all of it was withheld), ``provider_empty`` (its limit was reached before the first word).
    """

    async def models(self) -> Sequence[Model]:
        """The models that are available now."""
        ...

    def stream(self, ask: ProviderRequest) -> AsyncGenerator[list[Part], None]:
        """The answer. Its last part is ``Finish``, with ``Usage`` just before it where the provider gives one.

        Closing the generator aborts the request to the provider, also after ``Finish``. Reading on to the generator's end instead
        allows the connection to be reused.
        """
        ...


@runtime_checkable
class Forwarder(Protocol):
    """A provider that also answers requests which are no turns of a chat, in OpenAI's own form."""

    def forward(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """The body of the provider's answer to a POST of ``body`` to ``path`` (``/embeddings``, ``/completions``), as it comes.

        Raises ``ProviderFailed``, before the first bytes where the provider refuses.
        """
        ...
