"""What a ``stream`` filter gets and returns: one chunk of an answer in the form of OpenAI's chat completions."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from commands.providers.provider import Audio, File, Finish, Logprobs, Part, Reasoning, RefusalText, Text, ToolCall, Usage
from domain.values.storable import storable_text

Chunk = dict[str, Any]
REFUSAL: Final = "refusal"

_encode: Final = msgspec.json.Encoder().encode


class ChunkForm:
    """Parts of one answer as chunks. ``head`` stands in each of them: ``id``, ``object``, ``created`` and ``model``."""

    def __init__(self, head: Mapping[str, Any]) -> None:
        self._head = head

    def chunks(self, parts: Sequence[Part]) -> list[tuple[Chunk | None, list[Part]]]:
        """Each chunk with the parts that it was made of. What has no form as a chunk stands alone, with None."""
        made: list[tuple[Chunk | None, list[Part]]] = []
        for part in parts:
            if type(part) is Text:  # nearly every part
                made.append((self._said({"content": storable_text(part.text)}), [part]))
            elif type(part) is Logprobs and made and (last := made[-1][0]) is not None and last["choices"]:
                last["choices"][0]["logprobs"] = part.logprobs
                made[-1][1].append(part)
            else:
                made.append((self._chunk(part), [part]))
        return made

    def _chunk(self, part: Part) -> Chunk | None:
        match part:
            case Reasoning(text):
                return self._said({"reasoning_content": storable_text(text)})
            case RefusalText(text):
                return self._said({REFUSAL: storable_text(text)})
            case ToolCall(index, arguments, call_id, name):
                said = {"arguments": storable_text(arguments)}
                function = said if name is None else {"name": name, **said}
                call = {"index": index, "function": function} if call_id is None else {"index": index, "id": call_id, "function": function}
                return self._said({"tool_calls": [{"type": "function", **call}]})
            case Audio(data, audio_id):
                return self._said({"audio": {"data": data, "id": audio_id}})
            case File({"type": "image", "url": url}):
                return self._said({"images": [{"type": "image_url", "image_url": {"url": url}}]})
            case Finish(reason):
                return self._said({}, reason)
            case Usage(usage):
                return {**self._head, "choices": [], "usage": dict(usage)}
            case _:
                return None

    def _said(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> Chunk:
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def parts_of(chunk: Chunk) -> list[Part]:
    """The parts that a chunk says, as a filter has returned it. What is not understood is left out."""
    made: list[Part] = []
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    delta = choice.get("delta")
    if isinstance(delta, dict):
        for key, kind in (("reasoning_content", Reasoning), ("reasoning", Reasoning), ("content", Text), (REFUSAL, RefusalText)):
            if isinstance(text := delta.get(key), str) and text:
                made.append(kind(text))
        if made and isinstance(choice.get("logprobs"), dict):
            made.append(Logprobs(choice["logprobs"]))
        made += [call for entry in listed(delta.get("tool_calls")) if (call := tool_call(entry)) is not None]
        match delta.get("audio"):
            case {"data": str() as data, "id": str() as audio_id}:
                made.append(Audio(data, audio_id))
            case {"data": str() as data}:
                made.append(Audio(data))
            case _:
                pass
        for image in listed(delta.get("images")):
            match image:
                case {"image_url": {"url": str() as url}}:
                    made.append(File({"type": "image", "url": url}))
                case _:
                    pass
    if isinstance(reason := choice.get("finish_reason"), str) and reason:
        made.append(Finish(reason))
    if isinstance(usage := chunk.get("usage"), dict):
        made.append(Usage(usage))
    return made


def tool_call(entry: Any) -> ToolCall | None:
    match entry:
        case {"index": int() as index, "function": dict() as function, **rest}:
            arguments, name, call_id = function.get("arguments"), function.get("name"), rest.get("id")
            return ToolCall(
                index,
                arguments if isinstance(arguments, str) else "",
                call_id if isinstance(call_id, str) else None,
                name if isinstance(name, str) else None,
            )
        case _:
            return None


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


class Said:
    """What all chunks together say, as blocks: what is compared before and after a filter."""

    __slots__ = ("_blocks", "_calls")

    def __init__(self) -> None:
        self._blocks: list[tuple[dict[str, Any], list[str]]] = []
        self._calls: dict[int, list[str]] = {}

    def add(self, parts: Sequence[Part]) -> None:
        for part in parts:
            if type(part) is Text:
                self._flow("text", None, part.text)
                continue
            match part:
                case Reasoning(text):
                    self._flow("reasoning", None, text)
                case RefusalText(text):
                    self._flow("text", REFUSAL, text)
                case Audio(data, _):
                    self._flow("audio", None, data)
                case ToolCall(index, arguments, call_id, name):
                    known = self._calls.get(index)
                    if known is None:
                        known = self._calls[index] = []
                        self._blocks.append(({"type": "tool_call", "name": name, "id": call_id}, known))
                    known.append(storable_text(arguments))
                case _:
                    pass

    def _flow(self, type_: str, name: str | None, text: str) -> None:
        text = storable_text(text)
        if self._blocks:
            block, pieces = self._blocks[-1]
            if block["type"] == type_ and block.get("name") == name:
                pieces.append(text)
                return
        self._blocks.append(({"type": type_, "name": name} if name else {"type": type_}, [text]))

    def encoded(self) -> bytes:
        return _encode([{**block, "text": "".join(pieces)} for block, pieces in self._blocks])


def sha256_of(encoded: bytes) -> str:
    return hashlib.sha256(encoded).hexdigest()
