"""A chat as it was before its reader's access began, without the words that are hidden from them (``domain/log/redaction.py``)."""

from typing import Final

from domain.log.redaction import BLOCKS, CONTENT, EMITTED_CONTENT, RATING, Redaction
from projections.chat import ChatView
from projections.messages import Message

# What is left of a message that was deleted before the access began: its place, and who said it when.
STRUCTURE: Final = frozenset({"id", "parentId", "childrenIds", "role", "user_id", "added_by", "timestamp", "done", "state"})


def redact_view(view: ChatView, redaction: Redaction) -> None:
    """Leave out of the view, in place, what no longer stood when the access began. Its messages say so by ``redacted``."""
    version = view.version
    for message_id in redaction.message_ids:
        message: Message | None = view.messages.get(str(message_id))
        if message is None:
            continue
        if redaction.is_deleted(message_id):
            view.messages[str(message_id)] = {
                **{key: value for key, value in message.items() if key in STRUCTURE},
                CONTENT: "",
                "redacted": True,
            }
            continue
        for key in redaction.replaced_after(message_id, version):
            if take_away(message, key):
                message["redacted"] = True
    if redaction.title_replaced_after(version):
        view.title = ""
    view.fields = redaction.standing_fields(view.fields, version)
    view.tags = [tag for tag in view.tags if not redaction.untagged_after(tag, version)]


def take_away(message: Message, key: str) -> bool:
    """Whether the message had something under this key."""
    match key:
        case "content":
            message.pop(BLOCKS, None)
            message[CONTENT] = ""
            return True
        case "annotation" if isinstance(message.get(RATING), dict):
            message[RATING] = {**message[RATING], "comment": None}
            return True
        case _ if key == EMITTED_CONTENT:
            return BLOCKS in message and message.pop(CONTENT, None) is not None
        case _:
            return message.pop(key, None) is not None
