"""Every refusal and failure this project knows by name.

    StenographError
    ├── Refusal                      the answer is no; asking again the same way gives the same no
    │   ├── BadStreamName, BadCursor, BadRequest, BadSearch, ContentRefused, TooLarge, BodyTooLarge
    │   ├── NotAuthenticated, WrongCredentials, Forbidden, ScopeMissing, AccountInactive, TooManyAttempts
    │   ├── ChatNotFound (ChatToActInNotFound), StreamNotFound, MessageNotFound, ModelNotFound, ResponseNotFound, UserNotFound, TaskNotFound
    │   ├── ApiKeyNotFound, SessionNotFound, ProviderNotFound
    │   ├── ModelEntryNotFound, ModelExists, GroupNotFound
    │   ├── ChannelNotFound, ChannelExists, WebhookNotFound
    │   ├── NotAThread               a reply to a reply in a channel
    │   ├── ArenaEmpty               an arena has nothing to pick for this caller
    │   ├── FolderNotFound, FolderExists, FolderNameTaken, FolderCycle
    │   ├── ActionNotFound, ActionNotAvailable
    │   ├── FunctionNotFound, FunctionExists, FunctionInactive, FunctionReadOnly
    │   ├── FunctionNotLoaded        a function's source that cannot be run: names the line and the exception
    │   ├── ValvesRefused            settings of a function that are not as it declares them
    │   ├── ChatExists, MessageExists, ParentNotFound, GenerationNotOpen, GenerationOpen
    │   ├── DeltaGap, BlockGap       a part of an answer that came out of turn
    │   ├── CallNotFound, CallTaken, CallExpired, TooManyCalls   a question to the user
    │   ├── ChunkGap                 a chunk of a direct connection that came out of turn
    │   ├── QuotaReached             an account has as much as it may have
    │   │   └── RateReached          … for now: some of it ends, or a new day begins
    │   ├── ChatFull                 a chat holds as many messages or bytes as it may
    │   ├── ChatChanged              a message, or the chat itself, is not as the caller last saw it
    │   ├── EditConflict             two people changed the same of a message: both versions of it are named
    │   ├── ClaimTaken               something that must be unique is somebody else's already
    │   ├── ImportRefused            a chat from elsewhere that cannot be taken: names the chat and the key
    │   ├── ShareRefused             a person takes no shares from this one
    │   ├── TooManyOffers            … or has not answered those that are there
    │   ├── BeforeFirstEvent         a time at which there was nothing yet
    │   ├── BadLine                  a line of a file that cannot be restored
    │   ├── CommandMismatch          an idempotency key came back with another body
    │   └── CursorGone               a cursor of another history, or from the future
    ├── ConcurrencyConflict          the stream moved on between reading and appending; nothing was written
    │   └── TooManyLostRaces         … and it did so every time
    └── Unavailable                  not now; the same request may succeed later
        ├── LogUnavailable           Postgres was silent: it may have been written, repeat with the same command id
        ├── Overloaded               a bounded queue is full
        ├── ProjectionBehind         lists and searches do not hold yet what the caller wants to see in them
        ├── ProviderFailed           the model's server refused, broke off, or went silent
        │   └── PipelineFailed       a server of filters refused
        ├── FilterRefused            a filter chose a model that cannot be asked
        └── FunctionFailed           a function raised an exception, or took too long

A class is named for the fact, carries its numbers as attributes and puts both sides into its text. ``code`` is stable
and meant for programs; ``api/request/errors.py`` alone knows which HTTP status or close code goes with it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID


class StenographError(Exception):
    """The root. ``code`` is the stable name of the fact on the wire."""

    code: ClassVar[str] = "internal"

    @property
    def detail(self) -> str:
        return str(self)


class Refusal(StenographError):
    code = "refused"


class BadStreamName(Refusal):
    code = "bad_stream_name"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"expected a stream as kind/uuid, received {name[:100]!r}")


class BadCursor(Refusal):
    code = "bad_cursor"

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        super().__init__(f"expected a cursor as epoch:number, start or now, received {cursor[:100]!r}")


class BadRequest(Refusal):
    """The request cannot mean anything: its text says what was expected and what came. ``param`` names the part, where one is at fault."""

    code = "bad_request"

    def __init__(self, detail: str, *, param: str | None = None) -> None:
        self.param = param
        super().__init__(detail)


class TooLarge(Refusal):
    """One value of a request is larger than anything that is stored. ``key`` names it; sizes in bytes."""

    code = "too_large"

    def __init__(self, key: str, size: int, size_max: int) -> None:
        self.key = key
        super().__init__(f"expected {key} of at most {size_max} bytes, received {size}")


class BadSearch(Refusal):
    """The search query is not valid: a token with an unknown value, or too much text."""

    code = "bad_search"


class BodyTooLarge(Refusal):
    """A request with more, or with more values, than its route accepts."""

    code = "body_too_large"


class ContentRefused(Refusal):
    """Text that cannot be stored: U+0000 or a lone surrogate."""

    code = "content_refused"

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"text must be Unicode without U+0000 and lone surrogates, received {what}")


class NotAuthenticated(Refusal):
    code = "not_authenticated"

    def __init__(self, reason: str = "no valid token, key or ticket was given") -> None:
        super().__init__(reason)


class WrongCredentials(Refusal):
    """At the door: which of the two is wrong is not told, nor whether there is such an account."""

    code = "wrong_credentials"

    def __init__(self, reason: str = "the e-mail or the password is not right") -> None:
        super().__init__(reason)


class Forbidden(Refusal):
    code = "forbidden"

    def __init__(self, what: str) -> None:
        super().__init__(what)


class ScopeMissing(Refusal):
    """An API key that is not for this."""

    code = "scope_missing"

    def __init__(self, needed: Collection[str], held: Collection[str]) -> None:
        self.needed, self.held = sorted(needed), sorted(held)
        super().__init__(f"expected a key with the scope {' or '.join(self.needed)}, this one has {', '.join(self.held)}")


class AccountInactive(Refusal):
    code = "account_inactive"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class TooManyAttempts(Refusal):
    code = "too_many_attempts"

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"too many attempts: try again in {retry_after_s} s")


class ChatNotFound(Refusal):
    """No such chat, or not for this user: the two are not told apart, so that ids cannot be probed."""

    code = "chat_not_found"

    def __init__(self, chat_id: UUID | str) -> None:
        self.chat_id = chat_id
        super().__init__(f"no chat {chat_id} that you may use")


class ChatToActInNotFound(ChatNotFound):
    """The same where an action or an outlet is asked for in a chat: those routes of the reference have another status for it. One code."""


class StreamNotFound(Refusal):
    """No such stream, or not for this user."""

    code = "stream_not_found"

    def __init__(self, stream: object) -> None:
        self.stream = stream
        super().__init__(f"no stream {stream} that you may read")


class MessageNotFound(Refusal):
    code = "message_not_found"

    def __init__(self, message_id: UUID | str) -> None:
        self.message_id = message_id
        super().__init__(f"there is no message {message_id} here")


class ApiKeyNotFound(Refusal):
    code = "key_not_found"

    def __init__(self, key_id: UUID) -> None:
        self.key_id = key_id
        super().__init__(f"this account has no key {key_id}")


class SessionNotFound(Refusal):
    code = "session_not_found"

    def __init__(self, token_id: UUID) -> None:
        self.token_id = token_id
        super().__init__(f"you have no sign-in {token_id}, or it has ended already")


class ModelNotFound(Refusal):
    code = "model_not_found"

    def __init__(self, model: str, *, base_model_id: str | None = None) -> None:
        self.model = model
        why = f", since the model that it stands on is not there: {base_model_id[:200]}" if base_model_id is not None else ""
        super().__init__(f"Model not found: {model[:200]}{why}")


class ModelEntryNotFound(Refusal):
    """There is no entry of that model, or it is not for this caller to see or change: the two look alike."""

    code = "model_entry_not_found"

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        super().__init__(f"there is no entry of a model {model_id[:200]!r} that you may see or change")


class ModelExists(Refusal):
    code = "model_exists"

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        super().__init__(f"the id {model_id[:200]!r} is that of another model already")


class ArenaEmpty(Refusal):
    code = "arena_empty"

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(f"the arena {model[:200]!r} has no model that you may use and that can be asked now")


class GroupNotFound(Refusal):
    code = "group_not_found"

    def __init__(self, group_id: object) -> None:
        self.group_id = group_id
        super().__init__(f"there is no group {str(group_id)[:200]}")


class ProviderNotFound(Refusal):
    code = "provider_not_found"

    def __init__(self, provider_id: UUID) -> None:
        self.provider_id = provider_id
        super().__init__(f"there is no provider {provider_id}")


class ChannelNotFound(Refusal):
    code = "channel_not_found"

    def __init__(self, channel_id: object) -> None:
        self.channel_id = channel_id
        super().__init__(f"there is no channel {str(channel_id)[:200]}")


class ChannelExists(Refusal):
    code = "channel_exists"

    def __init__(self, channel_id: UUID) -> None:
        self.channel_id = channel_id
        super().__init__(f"channel {channel_id} exists already")


class NotAThread(Refusal):
    """A reply to a reply."""

    code = "not_a_thread"

    def __init__(self, parent_id: UUID) -> None:
        self.parent_id = parent_id
        super().__init__(f"message {parent_id} is itself a reply: name the first message of its thread as parent_id")


class WebhookNotFound(Refusal):
    code = "webhook_not_found"

    def __init__(self, webhook_id: UUID) -> None:
        self.webhook_id = webhook_id
        super().__init__(f"there is no webhook {webhook_id} in this channel")


class ResponseNotFound(Refusal):
    """No such response or conversation, or not for this user. ``param`` names the parameter that asks for it, if one does."""

    code = "response_not_found"

    def __init__(self, given: str, *, param: str | None = None) -> None:
        self.given, self.param = given, param
        super().__init__(f"no response or conversation {given[:100]!r} that you may use")


class UserNotFound(Refusal):
    code = "user_not_found"

    def __init__(self, user: UUID | str) -> None:
        self.user = user
        super().__init__(f"no user {user}")


class TaskNotFound(Refusal):
    code = "task_not_found"

    def __init__(self, task_id: UUID | str) -> None:
        self.task_id = task_id
        super().__init__(f"no running task {task_id} that you may use")


class ChatExists(Refusal):
    code = "chat_exists"

    def __init__(self, chat_id: UUID) -> None:
        self.chat_id = chat_id
        super().__init__(f"chat {chat_id} exists already")


class MessageExists(Refusal):
    code = "message_exists"

    def __init__(self, message_id: UUID) -> None:
        self.message_id = message_id
        super().__init__(f"message {message_id} exists already")


class ParentNotFound(Refusal):
    code = "parent_not_found"

    def __init__(self, parent_id: UUID) -> None:
        self.parent_id = parent_id
        super().__init__(f"the parent message {parent_id} is not in this chat")


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


class FolderNotFound(Refusal):
    """The caller has no such folder. The answer is the same for another person's folder, so that ids cannot be probed."""

    code = "folder_not_found"

    def __init__(self, folder_id: UUID | str) -> None:
        self.folder_id = folder_id
        super().__init__(f"no folder {folder_id} among yours")


class FolderExists(Refusal):
    code = "folder_exists"

    def __init__(self, folder_id: UUID) -> None:
        self.folder_id = folder_id
        super().__init__(f"folder {folder_id} exists already")


class FolderNameTaken(Refusal):
    """Names are told apart without regard to case."""

    code = "folder_name_taken"

    def __init__(self, name: str, folder_id: UUID) -> None:
        self.name, self.folder_id = name, folder_id
        super().__init__(f"Folder already exists: {name} ({folder_id}) is in the same place")


class FolderCycle(Refusal):
    code = "folder_cycle"

    def __init__(self, folder_id: UUID, parent_id: UUID | None) -> None:
        self.folder_id, self.parent_id = folder_id, parent_id
        super().__init__(f"folder {folder_id} cannot be moved into {parent_id}, which is itself or below it")


class FunctionNotFound(Refusal):
    """No such function, or it lacks the method that was asked for."""

    code = "function_not_found"

    def __init__(self, function_id: str, method: str | None = None) -> None:
        self.function_id, self.method = function_id, method
        super().__init__(f"no function {function_id[:200]!r}" + (f" that has a method {method}" if method else ""))


class ActionNotFound(Refusal):
    code = "action_not_found"

    def __init__(self, action_id: str) -> None:
        self.action_id = action_id
        super().__init__(f"Action not found: {action_id[:200]}")


class ActionNotAvailable(Refusal):
    """A function that is no action, or an action that the model does not offer."""

    code = "action_not_available"

    def __init__(self, action_id: str) -> None:
        self.action_id = action_id
        super().__init__(f"Action not available: {action_id[:200]}")


class FunctionExists(Refusal):
    code = "function_exists"

    def __init__(self, function_id: str) -> None:
        self.function_id = function_id
        super().__init__(f"a function {function_id[:200]!r} exists already: choose another id, or update that one")


class FunctionInactive(Refusal):
    code = "function_inactive"

    def __init__(self, function_id: str) -> None:
        self.function_id = function_id
        super().__init__(f"function {function_id[:200]!r} is not active")


class FunctionReadOnly(Refusal):
    """Its source is a file of the server's folder of functions."""

    code = "function_read_only"

    def __init__(self, function_id: str) -> None:
        self.function_id = function_id
        super().__init__(
            f"function {function_id[:200]!r} is a file in the folder of functions (STENO_FUNCTIONS): change or remove it there"
        )


class FunctionNotLoaded(Refusal):
    """``reason`` says which of ``syntax``, ``import``, ``no_class``, ``exception``, ``valves``, ``too_slow``, ``no_pydantic`` it was;
    ``line`` where in the source, if that is known.
    """

    code = "function_not_loaded"

    def __init__(self, function_id: str, reason: str, detail: str, line: int | None = None) -> None:
        self.function_id, self.reason, self.line = function_id, reason, line
        where = f"{function_id[:200]}.py" + (f", line {line}" if line is not None else "")
        super().__init__(f"{where}: {detail}")


class ValvesRefused(Refusal):
    """``problems``: of each value that is refused its name and why. Never the value: it may be a secret."""

    code = "valves_refused"

    def __init__(self, function_id: str, problems: Sequence[tuple[str, str]]) -> None:
        self.function_id, self.problems = function_id, problems
        said = "; ".join(f"{name}: {why}" if name else why for name, why in problems[:20])
        super().__init__(f"valves of {function_id[:200]!r}: {said}")


class ChatChanged(Refusal):
    code = "chat_changed"

    def __init__(self, message_id: UUID | None, *, seen: int, current: int) -> None:
        self.message_id, self.seen, self.current = message_id, seen, current
        what = f"message {message_id}" if message_id is not None else "the chat's title or settings"
        super().__init__(f"{what}: expected as of version {seen}, changed at version {current}")


class EditConflict(Refusal):
    """Nothing was written. ``conflicts``: of each message both versions, with what differs and where the server's stands."""

    code = "edit_conflict"

    def __init__(self, conflicts: Sequence[Mapping[str, Any]], *, expected: int | None, current: int) -> None:
        self.conflicts, self.expected, self.current = conflicts, expected, current
        named = ", ".join(str(one["message_id"] or "the chat itself") for one in conflicts[:5])
        more = f" and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
        read = f"version {expected}" if expected is not None else "the copy"
        super().__init__(
            f"somebody else changed what this copy changes, after {read} and before version {current}: {named}{more}; nothing was saved"
        )


class QuotaReached(Refusal):
    """``quota`` names what is bounded, ``used`` and ``limit`` are in its unit: a count, or bytes. Nothing was written."""

    code = "quota_reached"

    def __init__(self, quota: str, *, used: int, limit: int) -> None:
        self.quota, self.used, self.limit = quota, used, limit
        super().__init__(f"quota {quota}: this account may have {limit}, it has {used}")


class RateReached(QuotaReached):
    code = "rate_reached"

    def __init__(self, quota: str, *, used: int, limit: int, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(quota, used=used, limit=limit)


class ChatFull(Refusal):
    code = "chat_full"

    def __init__(self, what: str, *, used: int, limit: int) -> None:
        self.what, self.used, self.limit = what, used, limit
        super().__init__(f"a chat holds at most {limit} {what}, this one has {used}")


class ClaimTaken(Refusal):
    code = "claim_taken"

    def __init__(self, kind: str, key: str) -> None:
        self.kind, self.key = kind, key
        super().__init__(f"this {kind} is taken already")  # never the key: it may be an e-mail address


class CommandMismatch(Refusal):
    code = "idempotency_key_reused"

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"idempotency key {key[:100]!r} was used before with another request")


class CursorGone(Refusal):
    code = "cursor_gone"

    def __init__(self, cursor: str, *, epoch: UUID, head: int) -> None:
        self.cursor, self.epoch, self.head = cursor, epoch, head
        if cursor.startswith(f"{epoch}:"):
            super().__init__(f"cursor {cursor[:100]!r} is above the head, {epoch}:{head}")
        else:
            super().__init__(f"cursor {cursor[:100]!r} is of another epoch than this log, which is at {epoch}:{head}")


class ImportRefused(Refusal):
    """``chat`` and ``key`` are the source's own names; the key is a path, such as ``history.messages.ID.parentId``."""

    code = "import_refused"

    def __init__(self, chat: str, key: str, reason: str) -> None:
        self.chat, self.key, self.reason = chat, key, reason
        super().__init__(f"chat {chat[:200]}: {key[:200]}: {reason}")


class ShareRefused(Refusal):
    code = "share_refused"

    def __init__(self) -> None:
        super().__init__("this person takes no shares from you")


class TooManyOffers(Refusal):
    code = "too_many_offers"

    def __init__(self, offers_max: int) -> None:
        self.offers_max = offers_max
        super().__init__(f"this person has {offers_max} shares that they have not looked at: share more once they have")


class BeforeFirstEvent(Refusal):
    code = "before_first_event"

    def __init__(self, stream: object, at: object) -> None:
        self.stream, self.at = stream, at
        super().__init__(f"expected a time at which {stream} was there, received {at}, before its first event")


class BadLine(Refusal):
    """Its text says which key is wrong. ``where`` says where the line stands, once that is known."""

    code = "bad_line"

    def __init__(self, reason: str, where: str = "") -> None:
        self.reason, self.where = reason, where
        super().__init__(f"{where}: {reason}" if where else reason)


class ConcurrencyConflict(StenographError):
    """Nothing was written. ``current`` is -1 where it is not known."""

    code = "version_conflict"

    def __init__(self, stream: object, *, expected: int, current: int) -> None:
        self.stream, self.expected, self.current = stream, expected, current
        super().__init__(f"{stream}: expected version {expected}, the stream is at {current}")


class TooManyLostRaces(ConcurrencyConflict):
    code = "too_many_lost_races"

    def __init__(self, stream: object, attempts: int) -> None:
        self.attempts = attempts
        super().__init__(stream, expected=-1, current=-1)
        self.args = (f"{stream}: lost {attempts} races in a row against other writers",)


class Unavailable(StenographError):
    code = "unavailable"


class LogUnavailable(Unavailable):
    """Postgres was silent. What was sent may have been written: repeat it with the same command id."""

    code = "log_unavailable"

    @property
    def detail(self) -> str:
        """Without the driver's words: they name hosts and paths, and are for our own log."""
        return "the log does not answer now; what was sent may have been written: repeat it with the same Idempotency-Key"


class ProjectionBehind(Unavailable):
    code = "projection_behind"

    def __init__(self, position: int) -> None:
        self.position = position
        super().__init__(f"lists and searches do not hold position {position} yet; is the projection paused? steno projections list")


class Overloaded(Unavailable):
    code = "overloaded"

    def __init__(self, queue: str, limit: int) -> None:
        self.queue, self.limit = queue, limit
        super().__init__(f"{queue} is full at {limit}")


class ProviderFailed(Unavailable):
    """``code`` is an instance attribute here: what the provider did (``provider_status``, ``provider_idle`` …).

    Its text and ``said`` are for everybody who reads the chat: they name no address and nothing of a key. ``private`` is the same for the
    server's log, with the address.

    ``said`` is the provider's own refusal, where it gave one: ``status`` (HTTP), ``code``, ``type``, ``param`` and ``message`` as it named
    them, ``retry_after`` as its header had it. What it did not say is left out.
    """

    code = "provider_failed"

    def __init__(self, code: str, detail: str, said: Mapping[str, Any] | None = None, *, private: str = "") -> None:
        self.private = private or detail
        self.code = code  # type: ignore[misc]  # the one class whose fact has several names
        self.said = said or {}
        super().__init__(detail)


class FunctionFailed(Unavailable):
    """``reason`` is ``raised``, ``too_slow`` or ``stopped``. Its text is for everybody who reads the chat: the function's name, and the
    exception as the function words it. The traceback is in the server's log.
    """

    code = "function_failed"

    def __init__(self, function_id: str, detail: str, *, reason: str = "raised") -> None:
        self.function_id, self.reason = function_id, reason
        super().__init__(f"function {function_id[:200]}: {detail}")


class PipelineFailed(ProviderFailed):
    """A server of pipelines refuses a question, or a pipeline returned what is no body. ``said`` is ``status`` and ``message``."""

    code = "pipeline_failed"

    def __init__(self, pipeline_id: str, detail: str, said: Mapping[str, Any] | None = None, *, private: str = "") -> None:
        super().__init__(self.code, f"pipeline {pipeline_id[:200]}: {detail}", said, private=private)


class FilterRefused(Unavailable):
    """A filter chose a model that the one who asks cannot ask."""

    code = "filter_refused"

    def __init__(self, model: str, refusal: Refusal) -> None:
        self.model = model
        super().__init__(f"a filter chose the model {model[:200]!r}: {refusal}")
