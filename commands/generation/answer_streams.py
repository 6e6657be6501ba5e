"""Where answers are written: the chats, or the channels. A run works the same in both."""

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol
from uuid import UUID

from commands.ports import Appended
from domain.generation import AppendParts, EndGeneration, Generation
from domain.log.stream import Kind


class AnswerStreams(Protocol):
    """All streams of one kind that hold answers."""

    def handle(
        self, command: AppendParts | EndGeneration, *, expected_version: int | None = None, attempts_max: int | None = 32
    ) -> Coroutine[Any, Any, Appended]:
        """Raises ``GenerationNotOpen``, and what ``Aggregate.handle`` raises."""
        ...

    async def emit_by_server(self, stream_id: UUID, message_id: UUID, name: str, data: Any) -> None:
        """An event about an answer, by the server. Raises ``MessageNotFound``, and what ``Aggregate.handle`` raises."""
        ...

    async def open_generation(self, stream_id: UUID, message_id: UUID) -> tuple[int, Generation | None]:
        """The stream's version, and the generation of that message as of then; None where it has ended."""
        ...

    async def text_so_far(self, stream_id: UUID, message_id: UUID, generation: Generation) -> str:
        """What a generation has said in its text blocks, from the log."""
        ...


StreamsByKind = Mapping[Kind, AnswerStreams]
