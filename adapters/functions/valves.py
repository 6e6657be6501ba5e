"""A function's valves: the pydantic classes ``Valves`` and ``UserValves`` that it declares, and what an admin or a user has set of them.

Called in functions' threads alone: a class of valves may have validators that do anything.
"""

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args

import msgspec

from domain.routing.function import MASK

PROBLEMS_MAX: Final = 20
# A name that says that its text is a secret, where the class does not say so itself. "max_tokens" is none.
_SECRET_NAME: Final = re.compile(r"(api_?key|secret|password|passwd|private_?key|access_?key|credential|token$|_key$|^key$)", re.IGNORECASE)


class Declared:
    """What a function declares. ``problem``: why its valves cannot be made of what is stored; it cannot be called then."""

    __slots__ = ("current", "problem", "user_valves", "valves")

    def __init__(self, valves: Any, user_valves: Any) -> None:
        self.valves = valves
        self.user_valves = user_valves
        self.current: Any = None  # the valves that calls see
        self.problem: str | None = None


class Refused(Exception):
    """``problems``: of each value its name and why it is refused."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{name}: {why}" if name else why for name, why in problems))


def declared(instance: Any) -> Declared:
    """Raises ``TypeError`` for valves that are no class of pydantic."""
    return Declared(_class(instance, "Valves"), _class(instance, "UserValves"))


def _class(instance: Any, name: str) -> Any:
    from pydantic import BaseModel

    found = getattr(instance, name, None)
    if found is None or (isinstance(found, type) and issubclass(found, BaseModel)):
        return found
    raise _about_valves(f"expected {name} to be a class of pydantic's BaseModel, found {found!r:.100}")


def _about_valves(text: str) -> TypeError:
    error = TypeError(text)
    error.is_about_valves = True  # type: ignore[attr-defined]  # told apart from a TypeError of the function's own
    return error


def with_stored_valves(made_of: type, stored: Mapping[str, Any]) -> Any:
    """An instance. ``self.valves = self.Valves()`` in its ``__init__`` may lack what has no default: that is set before a call."""
    from pydantic import ValidationError

    try:
        return made_of()
    except ValidationError as error:
        valves = getattr(made_of, "Valves", None)
        if valves is None or error.title != valves.__name__:
            raise
    with _without_validation(valves, stored):
        return made_of()


@contextlib.contextmanager
def _without_validation(valves: Any, stored: Mapping[str, Any]) -> Iterator[None]:
    had = "__init__" in vars(valves)
    before = valves.__init__

    def init(self: Any, **data: Any) -> None:
        loose = valves.model_construct(**{**stored, **data})
        for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
            object.__setattr__(self, name, getattr(loose, name))

    valves.__init__ = init
    try:
        yield
    finally:
        if had:
            valves.__init__ = before
        else:
            del valves.__init__


def made(valves: Any, values: Mapping[str, Any]) -> Any:
    """The valves with these values. Raises ``Refused``."""
    from pydantic import ValidationError

    try:
        return valves(**values)
    except ValidationError as error:
        raise Refused(
            [(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors(include_url=False, include_input=False)][:PROBLEMS_MAX]
        ) from None
    except Exception as error:  # noqa: BLE001 - a validator of the function's own may raise anything
        raise Refused([("", f"{type(error).__name__}: {error}"[:200])]) from None


def checked(valves: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``(values, secrets)`` as they are kept: what was given, as the class has read it. Null is a value that is left at its default.

    Raises ``Refused``.
    """
    instance = made(valves, {name: value for name, value in given.items() if value is not None})
    secret = secret_names(valves)
    kept: dict[str, Any] = plain(instance.model_dump(exclude_unset=True))
    return {name: value for name, value in kept.items() if name not in secret}, {name: kept[name] for name in kept if name in secret}


def secret_names(valves: Any) -> frozenset[str]:
    """The fields that hold secrets: pydantic's own types for them, a field that is shown as a password, and names that say so."""
    from pydantic import SecretBytes, SecretStr

    found = set()
    for name, field in valves.model_fields.items():
        extra = field.json_schema_extra
        shown = extra.get("input") if isinstance(extra, dict) else None
        types = {field.annotation, *get_args(field.annotation)}
        is_text = any(isinstance(one, type) and issubclass(one, str) for one in types)
        if (
            types & {SecretStr, SecretBytes}
            or (isinstance(shown, dict) and shown.get("type") == "password")
            or (is_text and _SECRET_NAME.search(name))
        ):
            found.add(name)
    return frozenset(found)


def spec(valves: Any, person: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema for a form. ``options`` of an input that name a method are what that method returns for this person.

    The default of a secret is masked: it may come from the server's environment.
    """
    schema: dict[str, Any] = plain(valves.model_json_schema())
    secret = secret_names(valves)
    for name, shown in schema.get("properties", {}).items():
        if name in secret and shown.get("default"):
            shown["default"] = MASK
        wanted = shown.get("input")
        if isinstance(wanted, dict) and isinstance(wanted.get("options"), str):
            wanted["options"] = _options(getattr(valves, wanted["options"], None), person)
    return schema


def _options(method: Any, person: Mapping[str, Any]) -> list[Any]:
    if not callable(method):
        return []
    named = {"__user__": dict(person), "user": dict(person)}
    taken = {name: value for name, value in named.items() if name in inspect.signature(method).parameters}
    try:
        options = method(**taken)
    except Exception:  # noqa: BLE001 - a form without these options is better than none
        return []
    return plain(options) if isinstance(options, list) else []


def priority_of(declared: Declared, values: Any) -> float:
    """The valve ``priority``, or 0. Raises ``TypeError`` where it is no number."""
    found = getattr(values, "priority", 0) if declared.valves is not None else 0
    if found is None:
        return 0
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise _about_valves(f"expected the valve priority to be a number, found {found!r:.80}")
    return found


def plain(value: Any) -> Any:
    """A copy of JSON's types alone: what leaves a function's thread shares nothing with it. Raises ``TypeError`` for what is no JSON."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_reduced)


def _reduced(value: Any) -> Any:
    for method in ("get_secret_value", "model_dump", "dict", "tolist"):  # pydantic's secrets and models, those of version 1, arrays
        reduce: Callable[[], Any] | None = getattr(value, method, None)
        if callable(reduce):
            return reduce()
    if isinstance(value, str):  # a class of the function's own
        return str.__str__(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "__iter__"):
        return list(value)
    raise TypeError(f"expected JSON, found {type(value).__name__}")
