"""What Open WebUI's page reads of a message and no other client of ours needs: an answer's items, and why it broke off."""

from typing import Any, Final

import msgspec

from projections.messages import Message

INTERRUPTED: Final = {"content": "The server stopped while this was being written. What it had said is kept.", "code": "interrupted"}
# How a message that is stored as JSON shows that there is something to add: all others are sent as they are.
SIGNS: Final = (b'"blocks":[{', b'"state":"interrupted"')

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.encode


def page_message(stored: bytes) -> bytes:
    """The JSON of a message with ``output``, where it is made of more than text, and with ``error``, where it was interrupted."""
    if not any(sign in stored for sign in SIGNS):
        return stored
    return _encode(with_items(_decode(stored)))


def with_items(message: Message) -> Message:
    more: dict[str, Any] = {}
    if message.get("blocks") and "output" not in message:
        more["output"] = output_items(message)
    if message.get("state") == "interrupted" and "error" not in message:
        more["error"] = INTERRUPTED
    return message | more


def output_items(message: Message) -> list[dict[str, Any]]:
    """The blocks of an answer as items of OpenAI's Responses. Text that was put in the place of what it had said is one item, the last."""
    made: list[dict[str, Any]] = []
    status = "completed" if message.get("done") else "in_progress"
    blocks = message.get("blocks") or ()
    said = "".join("".join(block["text"]) for block in blocks if block["type"] == "text")
    content = message.get("content", said)
    for block in blocks:
        text = "".join(block["text"])
        item: dict[str, Any] = {"id": f"{message['id']}-{block['index']}", "status": status}
        match block["type"]:
            case "reasoning":
                made.append({**item, "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]})
            case "tool_call":
                call = {"call_id": block["id"] or item["id"], "name": block["name"] or "", "arguments": text}
                made.append({**item, "type": "function_call", **call})
            case "text" if content == said:
                made.append(message_item(item, text))
            case _:
                pass
    if content != said and isinstance(content, str):
        made.append(message_item({"id": f"{message['id']}-text", "status": status}, content))
    return made


def message_item(item: dict[str, Any], text: str) -> dict[str, Any]:
    return {**item, "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
