"""One answer of a model while it is generated: its facts, its open state, and what may be appended to it. Also what plugins did to it.

A chat has generations and so may any other kind of stream. A token is one ``MessageDelta``; what it costs does not grow with the stream.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from domain.errors import BlockGap, DeltaGap, GenerationNotOpen
from domain.log.event import Emitted, Event

BlockType = Literal["text", "reasoning", "tool_call", "audio"]
REFUSAL: Final = "refusal"  # the name of a text block in which the model says why it does not answer
CONTINUED: Final = "continued"  # the name of the text block that repeats what the continued answer had said


class MessageStarted(msgspec.Struct, frozen=True):
    parent_id: UUID | None
    model: str  # that answers
    requested_model: str  # that was asked: an arena, or the same
    task_id: UUID
    node_id: UUID
    selected_model_id: str | None = None
    client_id: str | None = None
    fills: bool | msgspec.UnsetType = msgspec.UNSET  # true: the message is there already, added without text, and keeps its place
    continues: UUID | msgspec.UnsetType = msgspec.UNSET  # the answer that this one goes on from: its first block repeats that one's text
    payload_sha256: str | msgspec.UnsetType = msgspec.UNSET  # hex, of the payload (``commands/generation/payload.py``)
    payload: Mapping[str, Any] | msgspec.UnsetType = msgspec.UNSET  # a reference to the payload, where payloads are kept
    fields: Mapping[str, Any] = {}
    base_model_id: str | msgspec.UnsetType = msgspec.UNSET  # of a custom model: the provider's, which was asked
    provider_name: str | msgspec.UnsetType = msgspec.UNSET  # of the provider that was asked, as its operator calls it


class BlockOpened(msgspec.Struct, frozen=True, omit_defaults=True):
    index: int  # from 0
    type: BlockType
    name: str | None = None  # of the tool; of a text block: ``REFUSAL`` or ``CONTINUED``
    id: str | None = None  # of the tool call, or of the audio, as the provider named it
    # What the model wrote between the text of the block before and this one's, and what is in neither: a tag that begins or ends its
    # reasoning, and the white space at it.
    preceded_by: str | msgspec.UnsetType = msgspec.UNSET


class MessageDelta(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The next piece of one block of an answer. ``gc=False``: nothing in it can make a cycle, and a replay makes millions."""

    index: int  # of the block, from 0
    text: str  # never empty; the provider's chunk as it came
    chunks: int = 1  # how many chunks were joined, under back-pressure only
    logprobs: Mapping[str, Any] | msgspec.UnsetType = msgspec.UNSET  # of this text, in OpenAI's form, where they were asked for


class BlockSum(msgspec.Struct, frozen=True):
    index: int
    type: BlockType
    sha256: str  # hex, of the block's text as UTF-8


class Timings(msgspec.Struct, frozen=True):
    first_token_ms: float | None
    total_ms: float


class MessageEnded(msgspec.Struct, frozen=True):
    content: Any  # the text of all text blocks in order; a reference {"blob", "size_bytes"} where it is too large
    blocks: Sequence[BlockSum]
    sha256: str  # hex, of the content as UTF-8
    finish_reason: str
    usage: Mapping[str, Any] | None
    timings: Timings
    deltas: int  # how many ``MessageDelta`` there are
    # What else the provider said, by its own names, below ``chunk``, ``choice`` and ``message`` for where it stood in its answer.
    extras: Mapping[str, Any] | msgspec.UnsetType = msgspec.UNSET


class GenerationFailed(msgspec.Struct, frozen=True):
    code: str
    detail: str
    content: Any = ""  # so far
    # The provider's own account of it, as far as it gave one: status, code, type, param, message, retry_after.
    provider: Mapping[str, Any] | msgspec.UnsetType = msgspec.UNSET


class GenerationCancelled(msgspec.Struct, frozen=True):
    by: UUID | None
    content: Any = ""


class GenerationInterrupted(msgspec.Struct, frozen=True):
    """The server that ran it died. Written by the server that noticed."""

    node_id: UUID
    content: Any = ""


class FilterApplied(msgspec.Struct, frozen=True, omit_defaults=True):
    """A filter has run for one answer, at one stage of it: the request to the model, its answer chunk by chunk, or the whole answer.

    The sums are those of the JSON that the filter got and returned: of a request's or an answer's body without ``metadata``, its keys
    sorted; of a stream, of the blocks ``[{type, name?, id?, text}]`` that all chunks together say.
    """

    filter_id: str
    stage: Literal["inlet", "stream", "outlet"]
    by: Literal["function", "pipeline"]
    chunks: int  # that it was given; 1 for a body
    changed: int  # how many of them it changed
    sha256_before: str
    sha256_after: str
    # By reference: what it changed, as it was before. Of a body the changed keys, and of ``messages`` those that were replaced, with
    # ``messages_from`` for the place of the first. Of a stream the blocks, so that the reference has the name ``sha256_before``.
    original: Any = None
    source_sha256: str | None = None  # of the function's code
    model: str | None = None  # that it chose in place of the model that was asked
    failed: str | None = None  # why it did not run, or not to its end: the answer went on without it

    def without_sums(self) -> "FilterApplied":
        """That it ran, and nothing by which one could find out what was said."""
        return msgspec.structs.replace(self, sha256_before="", sha256_after="", original=None, failed=None)


class ActionRan(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person has run an action. What it emitted stands before it, as events of its message."""

    action_id: str  # with the part after the dot, where one was chosen: ``id.sub``
    source_sha256: str  # of its code
    emitted: int  # how many events
    result: Any = None  # by reference: what it returned, as JSON
    failed: str | None = None  # what it raised

    def without_sums(self) -> "ActionRan":
        """As of ``FilterApplied``."""
        return msgspec.structs.replace(self, result=None, failed=None)


GenerationOver = MessageEnded | GenerationFailed | GenerationCancelled | GenerationInterrupted
GenerationPart = BlockOpened | MessageDelta
GenerationFact = MessageStarted | GenerationPart | GenerationOver
PluginTrace = FilterApplied | ActionRan

GENERATION_TYPES: Final[Mapping[str, type[Any]]] = {
    "message_start": MessageStarted,
    "content_block": BlockOpened,
    "message_delta": MessageDelta,
    "message_end": MessageEnded,
    "error": GenerationFailed,
    "cancelled": GenerationCancelled,
    "interrupted": GenerationInterrupted,
}
TRACE_TYPES: Final[Mapping[str, type[Any]]] = {"filter_applied": FilterApplied, "action_ran": ActionRan}


# ------------------------------------------------------------------------------------------------------------- commands


class StartGeneration(msgspec.Struct, frozen=True, kw_only=True):
    """``stream_id`` is the chat or the channel that the answer is for; ``by`` the account that asked for it.

    With ``fills`` the answer becomes the text of a message that a person has added under the role of an assistant. Who asks for it has
    made sure that the message has no text, and says so by ``ExpectUnchanged``: no decision reads texts.
    """

    stream_id: UUID
    by: UUID
    message_id: UUID
    parent_id: UUID | None
    model: str
    requested_model: str
    task_id: UUID
    node_id: UUID
    selected_model_id: str | None = None
    base_model_id: str | msgspec.UnsetType = msgspec.UNSET
    provider_name: str | msgspec.UnsetType = msgspec.UNSET
    client_id: str | None = None
    fills: bool = False
    continues: UUID | None = None  # an answer beside it that has ended: this one goes on from its text
    payload_sha256: str | None = None
    payload: Mapping[str, Any] | None = None
    fields: Mapping[str, Any] = {}


class AppendParts(msgspec.Struct, frozen=True, kw_only=True):
    """What arrived together of one answer. ``seq`` counts the deltas before it, from 0."""

    stream_id: UUID
    message_id: UUID
    seq: int
    parts: Sequence[GenerationPart]


class EndGeneration(msgspec.Struct, frozen=True, kw_only=True):
    stream_id: UUID
    message_id: UUID
    outcome: GenerationOver
    by: UUID | None = None  # the user who stops it; None: the run itself, or the server that found the run's server dead
    # What the answer is made of beside its blocks, files and sources; and which filters have changed it.
    emitted: Sequence[Emitted | FilterApplied] = ()


GENERATION_COMMANDS: Final = (StartGeneration, AppendParts, EndGeneration)  # a tuple: a union takes three times as long to look through


# ------------------------------------------------------------------------------------------- the state, and what may follow


class Generation(msgspec.Struct, frozen=True):
    task_id: UUID
    node_id: UUID
    started_version: int  # of its message_start: its deltas stand above
    deltas: int = 0
    blocks: int = 0


OpenGenerations = Mapping[UUID, Generation]  # by the id of the message that is generated; a handful


def start(command: StartGeneration) -> MessageStarted:
    """The fact that the command leads to, where it may begin at all."""
    return MessageStarted(
        command.parent_id,
        command.model,
        command.requested_model,
        command.task_id,
        command.node_id,
        command.selected_model_id,
        command.client_id,
        True if command.fills else msgspec.UNSET,
        msgspec.UNSET if command.continues is None else command.continues,
        msgspec.UNSET if command.payload_sha256 is None else command.payload_sha256,
        msgspec.UNSET if command.payload is None else command.payload,
        command.fields,
        command.base_model_id,
        command.provider_name,
    )


def end(generations: OpenGenerations, command: EndGeneration, before: Sequence[Event[Any]] = ()) -> list[Event[Any]]:
    """The events of an end. ``before``: what else ends with it. Raises ``GenerationNotOpen``."""
    if command.message_id not in generations:
        raise GenerationNotOpen(command.message_id)
    return [*(Event(command.message_id, fact) for fact in command.emitted), *before, Event(command.message_id, command.outcome)]


def append_parts(generations: OpenGenerations, message_id: UUID, seq: int, parts: Sequence[GenerationPart]) -> list[Event[GenerationPart]]:
    """The events of what arrived together of one answer. ``seq`` counts the deltas before it, from 0.

    A run that asks again after an unknown outcome resends its last parts: those that are known already are left out.
    Raises ``GenerationNotOpen``, which is also how a server that was thought dead learns that it must stop, ``DeltaGap`` or ``BlockGap``.
    """
    generation = generations.get(message_id)
    if generation is None:
        raise GenerationNotOpen(message_id)
    if seq > generation.deltas:
        raise DeltaGap(message_id, expected_seq=generation.deltas, received_seq=seq)
    blocks = generation.blocks
    events: list[Event[GenerationPart]] = []
    for part in parts:
        if isinstance(part, MessageDelta):
            if part.index >= blocks:
                raise BlockGap(message_id, open_blocks=blocks, received_index=part.index)
            if seq >= generation.deltas:
                events.append(Event(message_id, part))
            seq += 1
        elif part.index >= blocks:
            if part.index > blocks:
                raise BlockGap(message_id, open_blocks=blocks, received_index=part.index)
            events.append(Event(message_id, part))
            blocks += 1
    return events


def started(generations: OpenGenerations, message_id: UUID, start: MessageStarted, version: int) -> OpenGenerations:
    """``version`` is that of the ``message_start``."""
    return {**generations, message_id: Generation(start.task_id, start.node_id, version)}


def advanced(generations: OpenGenerations, message_id: UUID, *, deltas: int = 0, blocks: int = 0) -> OpenGenerations:
    known = generations.get(message_id)
    if known is None:
        return generations
    ahead = Generation(known.task_id, known.node_id, known.started_version, known.deltas + deltas, known.blocks + blocks)
    return {**generations, message_id: ahead}


def ended(generations: OpenGenerations, message_id: UUID | None) -> OpenGenerations:
    return {one: generation for one, generation in generations.items() if one != message_id}
