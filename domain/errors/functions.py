"""Functions: pipes, filters and actions."""

from collections.abc import Sequence

from domain.errors.kinds import Refusal, Unavailable


class FunctionNotFound(Refusal):
    """No such function, or it lacks the method that was asked for."""

    code = "function_not_found"

    def __init__(self, function_id: str, method: str | None = None) -> None:
        self.function_id, self.method = function_id, method
        super().__init__(f"no function {function_id[:200]!r}" + (f" that has a method {method}" if method else ""))


class FunctionVersionNotFound(FunctionNotFound):
    code = "function_version_not_found"

    def __init__(self, function_id: str, version: int) -> None:
        super().__init__(function_id)
        self.version = version
        self.args = (f"function {function_id[:200]!r} has no version {version}; its history lists those that it has",)


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


class FunctionFailed(Unavailable):
    """``reason`` is ``raised``, ``too_slow`` or ``stopped``. Its text is for everybody who reads the chat: the function's name, and the
    exception as the function words it. The traceback is in the server's log.
    """

    code = "function_failed"

    def __init__(self, function_id: str, detail: str, *, reason: str = "raised") -> None:
        self.function_id, self.reason = function_id, reason
        super().__init__(f"function {function_id[:200]}: {detail}")
