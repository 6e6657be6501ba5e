"""A chat as a client has saved it, parsed; and what of its title, its own keys and its current message the client has changed."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec

from commands.ids import bound_id
from domain.chat.merge import Conflict, SavedMessage, same_json
from domain.chat.state import tag_id
from domain.errors import BadRequest
from projections.chat import ChatView

ROLES: Final = ("user", "assistant", "system")
# Keys of a saved chat that are not settings of its own.
NOT_SETTINGS: Final = frozenset({"id", "history", "messages", "tags", "timestamp", "client_id"})


class SavedChat(msgspec.Struct, frozen=True):
    """What the client sent, with its ids bound to its user."""

    messages: Mapping[UUID, SavedMessage]
    current_id: UUID | None
    settings: Mapping[str, Any]  # the title, and the chat's own keys
    read_version: int | None  # the version that the client had read; None: it does not say


def parse_saved_chat(chat: Mapping[str, Any], user_id: UUID, read_version: int | None) -> SavedChat:
    """A message need name only what it changes, if it is in the chat already. Raises ``BadRequest`` that names the message and the key."""
    history = chat["history"]
    messages = history.get("messages") if isinstance(history, dict) else None
    if not isinstance(messages, dict):
        raise BadRequest("expected chat.history.messages, an object of messages by their ids")
    sent: dict[UUID, SavedMessage] = {}
    named = named_as_children(messages)
    for given, message in messages.items():
        if not isinstance(message, dict):
            raise BadRequest(f"message {given[:80]}: expected an object")
        role, parent = message.get("role"), message.get("parentId")
        if role is not None and role not in ROLES:
            raise BadRequest(f"message {given[:80]}: expected a role of {', '.join(ROLES)}, received {str(role)[:80]!r}")
        if parent is not None and not isinstance(parent, str):
            raise BadRequest(f"message {given[:80]}: expected parentId to be an id or null")
        message_id, client_id = bound_id(user_id, given)
        parent = parent or named.get(given)
        parent_id = bound_id(user_id, parent)[0] if parent else None
        sent[message_id] = SavedMessage(message_id, parent_id, role, message, client_id)
    current = history.get("currentId")
    current_id = bound_id(user_id, current)[0] if isinstance(current, str) and current else None
    return SavedChat(sent, current_id, {key: value for key, value in chat.items() if key not in NOT_SETTINGS}, read_version)


def named_as_children(messages: Mapping[str, Any]) -> dict[str, str]:
    """The parents of messages that name none themselves, where another one names them in ``childrenIds``: either direction is evidence.

    No such parent makes a circle.
    """
    named: dict[str, str] = {}
    for parent, message in messages.items():
        children = message.get("childrenIds") if isinstance(message, dict) else None
        for child in children if isinstance(children, list) else ():
            known = messages.get(child) if isinstance(child, str) else None
            if isinstance(known, dict) and not known.get("parentId"):
                named.setdefault(child, parent)
    is_tree: set[str] = set()  # and all above it
    for start in list(named):
        path: dict[str, None] = {}
        at: Any = start
        while isinstance(at, str) and at in messages and at not in path and at not in is_tree:
            path[at] = None
            message = messages[at]
            at = (message.get("parentId") if isinstance(message, dict) else None) or named.get(at)
        if at in path:
            circle = list(path)[list(path).index(at) :]
            named.pop(next((one for one in circle if one in named), ""), None)
        is_tree.update(path)
    return named


def tags_of(chat: Mapping[str, Any]) -> list[str]:
    """The tags of a chat, given as texts or as objects with a name. Raises ``BadRequest``."""
    names: list[str] = []
    given = chat.get("tags") or []
    for tag in given if isinstance(given, list) else [given]:
        name = tag.get("name") if isinstance(tag, dict) else tag
        if not isinstance(name, str):
            raise BadRequest("expected chat.tags as a list of names", param="tags")
        if tag_id(name) not in ("", "none"):  # the reference system's word for having none
            names.append(name)
    return names


def brought_along(chat: Mapping[str, Any], user_id: UUID) -> SavedChat | None:
    """The messages that a new chat comes with: those of ``history``, else those of the list ``messages``, each below the one before it.

    None if it comes without. Raises ``BadRequest``.
    """
    history, listed = chat.get("history") or {}, chat.get("messages") or []
    if not isinstance(history, dict) or not isinstance(listed, list):
        raise BadRequest("expected chat.history as an object and chat.messages as a list")
    if history.get("messages") or not listed:
        return parse_saved_chat(chat, user_id, None) if history else None
    messages: dict[str, Any] = {}
    parent: str | None = None
    for number, message in enumerate(listed):
        if not isinstance(message, dict):
            raise BadRequest(f"chat.messages.{number}: expected an object")
        given = message.get("id")
        message_id = given if isinstance(given, str) and given else f"{chat.get('id') or uuid4()}:{number}"
        messages[message_id] = {"parentId": parent, **message}
        parent = message_id
    return parse_saved_chat({**chat, "history": {"messages": messages, "currentId": history.get("currentId")}}, user_id, None)


class ChatSettings(msgspec.Struct, frozen=True):
    changed: Mapping[str, Any]
    conflicts: list[Conflict]


def changed_chat_settings(saved: SavedChat, now: ChatView, base: ChatView | None) -> ChatSettings:
    """The title and the chat's own keys, compared as messages are. Without ``base``, what the client had read, its value wins."""
    held, was = own_keys(now), own_keys(base) if base is not None else None
    changed = {key: value for key, value in saved.settings.items() if not (key in held and same_json(value, held[key]))}
    if was is None:
        return ChatSettings(changed, [])
    changed = {key: value for key, value in changed.items() if not (key in was and same_json(value, was[key]))}
    both = [key for key in changed if not same_json(held.get(key), was.get(key)) or (key in held) != (key in was)]
    return ChatSettings(changed, [Conflict(None, both)] if both else [])


def own_keys(view: ChatView) -> dict[str, Any]:
    return {**view.fields, "title": view.title}


def current_message(saved: SavedChat, now: ChatView, base: ChatView | None, added: set[UUID]) -> UUID | None:
    """The message to look at after the save: the client's, where it has moved there, or what it would answer."""
    held = UUID(now.current_id) if now.current_id is not None else None
    wanted, passed = saved.current_id, set[UUID]()
    while wanted is not None and wanted not in added and str(wanted) not in now.messages and wanted not in passed:
        passed.add(wanted)  # announced, or deleted meanwhile
        wanted = saved.messages[wanted].parent_id if wanted in saved.messages else None
    if wanted is None or (wanted not in added and str(wanted) not in now.messages):
        return held
    if wanted in added:
        return wanted
    if base is not None:
        return held if str(wanted) == base.current_id else wanted
    # A client that does not say what it had read, and is further up the same branch, has not seen the newest messages yet.
    return held if str(wanted) in now.branch(now.current_id) else wanted
