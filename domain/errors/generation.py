"""An answer while it is generated, and the calls to the user in it."""

from uuid import UUID

from domain.errors.kinds import Refusal


class GenerationNotOpen(Refusal):
    code = "generation_not_open"

    def __init__(self, message_id: UUID) -> None:
        self.message_id = message_id
        super().__init__(f"no generation is open for message {message_id}")


class GenerationOpen(Refusal):
    code = "generation_open"

    def __init__(self, message_id: UUID) -> None:
        self.message_id = message_id
        super().__init__(f"message {message_id} is still being generated; stop it first")


class DeltaGap(Refusal):
    code = "delta_gap"

    def __init__(self, message_id: UUID, *, expected_seq: int, received_seq: int) -> None:
        self.message_id, self.expected_seq, self.received_seq = message_id, expected_seq, received_seq
        super().__init__(f"message {message_id}: expected delta {expected_seq}, received {received_seq}")


class BlockGap(Refusal):
    """A delta for a block that is not open, or a block opened out of turn."""

    code = "block_gap"

    def __init__(self, message_id: UUID, *, open_blocks: int, received_index: int) -> None:
        self.message_id, self.open_blocks, self.received_index = message_id, open_blocks, received_index
        super().__init__(f"message {message_id}: {open_blocks} blocks are open, received a part of block {received_index}")


class CallNotFound(Refusal):
    """No such call, or another person was asked: the two are not told apart, so that ids cannot be probed."""

    code = "call_not_found"

    def __init__(self, call_id: UUID | str) -> None:
        self.call_id = call_id
        super().__init__(f"no call {str(call_id)[:100]} that you may answer")


class CallTaken(Refusal):
    """The first answer counts. ``session_id`` is the connection that gave it, None: over HTTP."""

    code = "call_answered"

    def __init__(self, call_id: UUID, *, by: UUID, session_id: str | None) -> None:
        self.call_id, self.by, self.session_id = call_id, by, session_id
        where = f"in session {session_id}" if session_id is not None else "over HTTP"
        super().__init__(f"call {call_id} was answered already, by {by} {where}")


class CallExpired(Refusal):
    """Nobody waits for the answer any more. ``reason`` as in the event. It is also what the one who asked gets."""

    code = "call_expired"

    def __init__(self, call_id: UUID, reason: str) -> None:
        self.call_id, self.reason = call_id, reason
        super().__init__(f"call {call_id} has expired: {reason}")


class TooManyCalls(Refusal):
    code = "too_many_calls"

    def __init__(self, of: str, calls_max: int) -> None:
        self.of, self.calls_max = of, calls_max
        super().__init__(f"this {of} has {calls_max} open calls to the user, which is as many as it may have")


class ChunkGap(Refusal):
    code = "chunk_gap"

    def __init__(self, call_id: UUID, *, expected_seq: int, received_seq: int) -> None:
        self.call_id, self.expected_seq, self.received_seq = call_id, expected_seq, received_seq
        super().__init__(f"call {call_id}: expected chunk {expected_seq}, received {received_seq}")
