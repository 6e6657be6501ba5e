"""A request that cannot be understood, or is too large."""

from uuid import UUID

from domain.errors.kinds import Refusal


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


class ResponseNotFound(Refusal):
    """No such response or conversation, or not for this user. ``param`` names the parameter that asks for it, if one does."""

    code = "response_not_found"

    def __init__(self, given: str, *, param: str | None = None) -> None:
        self.given, self.param = given, param
        super().__init__(f"no response or conversation {given[:100]!r} that you may use")


class TaskNotFound(Refusal):
    code = "task_not_found"

    def __init__(self, task_id: UUID | str) -> None:
        self.task_id = task_id
        super().__init__(f"no running task {task_id} that you may use")


class CommandMismatch(Refusal):
    code = "idempotency_key_reused"

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"idempotency key {key[:100]!r} was used before with another request")
