"""One chunk of an OpenAI-compatible answer, decoded.

The usual chunk fits the typed structs. Whatever else it says (content in parts, lone surrogates, broken UTF-8, arguments as objects,
keys that these structs do not have) is read by ``patiently``, which keeps what it does not know.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from adapters.providers.answers.sources import sources_of


class Function(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    index: int | None = None
    id: str | None = None
    function: Function | None = None
    type: str | None = None


class Delta(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    content: str | None = None
    reasoning_content: str | None = None  # DeepSeek, vLLM, llama.cpp
    reasoning: str | None = None  # OpenRouter, newer vLLM
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None  # before there were tools
    role: str | None = None


class Choice(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None  # the whole answer
    finish_reason: str | None = None
    native_finish_reason: str | None = None  # OpenRouter: the model's own
    logprobs: dict[str, Any] | None = None
    text: str | None = None  # of the older completions


class Chunk(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    choices: list[Choice] | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None  # llama.cpp
    error: Any = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    # Ours stand in their place, or they hold nothing.
    id: msgspec.Raw = msgspec.Raw()
    object: msgspec.Raw = msgspec.Raw()
    created: msgspec.Raw = msgspec.Raw()
    model: msgspec.Raw = msgspec.Raw()
    obfuscation: msgspec.Raw = msgspec.Raw()


class Beside(msgspec.Struct):
    """What one choice, or the chunk itself, says beside text and calls."""

    fields: dict[str, dict[str, Any]] = {}  # by where they stood: chunk, choice, message
    unknown: list[str] = []  # parts of the answer itself, such as ``delta.foo``
    files: list[dict[str, Any]] = []
    sources: list[dict[str, Any]] = []
    audio: dict[str, Any] = {}


class LooseChoice(Choice, gc=False):
    beside: Beside = msgspec.field(default_factory=Beside)


class LooseChunk(Chunk, gc=False):
    beside: Beside = msgspec.field(default_factory=Beside)


decode: Final = msgspec.json.Decoder(Chunk).decode

CHUNK_KEYS: Final = frozenset(Chunk.__struct_fields__) | {"citations", "search_results"}
CHOICE_KEYS: Final = frozenset(Choice.__struct_fields__)
DELTA_KEYS: Final = frozenset(Delta.__struct_fields__) | {"thinking", "reasoning_details", "images", "annotations", "citations", "audio"}
CALL_KEYS: Final = frozenset(Call.__struct_fields__)


def decoded_json(data: bytes) -> Any:
    """JSON as the standard library reads it: with lone surrogates, and after broken UTF-8 was replaced. ``None`` if it is none."""
    try:
        return json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def patiently(data: bytes) -> LooseChunk | None:
    """A chunk from JSON of nearly any shape, or ``None`` if it is none."""
    try:
        return _chunk(decoded_json(data))
    except RecursionError:  # nested deeper than any answer is
        return None


def _chunk(decoded: Any) -> LooseChunk | None:
    match decoded:
        case {"object": "error", "message": str() as message}:  # older vLLM
            return LooseChunk(error=message)
        case {"choices": list() as choices}:
            usable = [_choice(choice) for choice in choices if isinstance(choice, dict)]
            if choices and not usable:
                return None
            rest: dict[str, Any] = decoded
            beside = Beside({"chunk": _others(rest, CHUNK_KEYS)}, sources=sources_of(rest))
            return LooseChunk(
                [*usable],
                _object(rest.get("usage")),
                _object(rest.get("timings")),
                rest.get("error"),
                _string(rest.get("system_fingerprint")),
                _string(rest.get("service_tier")),
                beside=beside,
            )
        case {"error": failure} if failure:
            return LooseChunk(error=failure)
        case {"usage": dict()} | {"timings": dict()}:
            return LooseChunk(usage=_object(decoded.get("usage")), timings=_object(decoded.get("timings")))
        case _:
            return None


def _choice(choice: Mapping[str, Any]) -> LooseChoice:
    index, reason = choice.get("index"), choice.get("finish_reason")
    beside = Beside({"choice": _others(choice, CHOICE_KEYS), "message": {}})
    return LooseChoice(
        index if isinstance(index, int) else 0,
        _delta(choice.get("delta"), beside),
        _delta(choice.get("message"), beside),
        reason if isinstance(reason, str) else None,
        _string(choice.get("native_finish_reason")),
        _object(choice.get("logprobs")),
        _string(choice.get("text")),
        beside=beside,
    )


def _delta(delta: object, beside: Beside) -> Delta | None:
    if not isinstance(delta, dict):
        return None
    others = _others(delta, DELTA_KEYS)
    beside.fields["message"].update(others)
    beside.unknown += [f"delta.{name}" for name in others]
    text, thought = _content(delta.get("content"), beside)
    for name in ("reasoning_content", "reasoning", "thinking"):
        thought = thought or _thought(delta.get(name))
    thought = _details(delta.get("reasoning_details"), beside, is_said=bool(thought)) or thought
    for image in delta.get("images") or ():
        _image(image, beside)
    beside.sources += sources_of(delta)
    audio = _object(delta.get("audio")) or {}
    beside.audio.update(audio)
    calls = delta.get("tool_calls")
    function = delta.get("function_call")
    return Delta(
        text or _string(audio.get("transcript")),
        thought,
        refusal=_string(delta.get("refusal")),
        tool_calls=[_tool_call(call, beside) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else None,
        function_call=_tool_call({"function": function}, beside).function if isinstance(function, dict) else None,
    )


def _others(given: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """What it says under names that are not known; null and what is empty say nothing."""
    return {name: value for name, value in given.items() if name not in known and value not in (None, "", [], {})}


def _content(content: object, beside: Beside) -> tuple[str, str]:
    """Text and reasoning of a content that is a string or a list of typed parts, as Mistral and others send it."""
    match content:
        case str():
            return content, ""
        case {"type": "thinking" | "reasoning" as kind, **rest}:
            return "", "".join(_content(rest.get(kind, rest.get("text")), beside))
        case {"text": str() as text}:
            return text, ""
        case {"type": "image_url" | "image", **_rest}:
            _image(content, beside)
            return "", ""
        case list():
            both = [_content(part, beside) for part in content]
            return "".join(text for text, _ in both), "".join(thought for _, thought in both)
        case {"type": str() as kind, **_rest}:
            beside.unknown.append(f"content.{kind}")
            beside.fields["message"].setdefault("content", []).append(content)
            return "", ""
        case _:
            return "", ""


def _thought(value: object) -> str:
    match value:
        case str():
            return value
        case {"text": str() as text} | {"content": str() as text} | {"thinking": str() as text}:
            return text
        case _:
            return ""


def _details(details: object, beside: Beside, *, is_said: bool) -> str:
    """The text of OpenRouter's ``reasoning_details``, where it is not said beside them; the rest of them (signatures) is kept."""
    texts: list[str] = []
    for detail in details if isinstance(details, list) else ():
        match detail:
            case {"text": str() as text, **rest} | {"summary": str() as text, **rest}:
                texts.append(text)
                if any(rest.get(name) for name in ("signature", "data")):
                    beside.fields["message"].setdefault("reasoning_details", []).append(rest)
            case dict():
                beside.fields["message"].setdefault("reasoning_details", []).append(detail)
            case _:
                pass
    return "" if is_said else "".join(texts)


def _image(image: object, beside: Beside) -> None:
    match image:
        case {"image_url": {"url": str() as url}} | {"image_url": str() as url} | {"url": str() as url}:
            beside.files.append({"type": "image", "url": url})
        case {"b64_json": str() as data}:
            beside.files.append({"type": "image", "url": f"data:image/png;base64,{data}"})
        case _:
            beside.unknown.append("delta.images")
            beside.fields["message"].setdefault("images", []).append(image)


def _tool_call(call: Mapping[str, Any], beside: Beside) -> Call:
    others = _others(call, CALL_KEYS)
    if others:  # such as the signature of a thought
        beside.unknown += [f"tool_calls.{name}" for name in others]
        beside.fields["message"].setdefault("tool_calls", []).append({"id": call.get("id"), "index": call.get("index"), **others})
    index, call_id, function = call.get("index"), call.get("id"), call.get("function")
    if not isinstance(function, dict):
        return Call(index if isinstance(index, int) else None, _string(call_id))
    arguments = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return Call(index if isinstance(index, int) else None, _string(call_id), Function(_string(function.get("name")), arguments))


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _object(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None
