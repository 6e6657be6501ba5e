"""``pyopenwebui``, made from Open WebUI's own description: chats, lists, tags, folders, tasks, and what it raises.

What is read is checked against the client's own types; what commands return is not, since some differ (docs/deviations.md).
"""

import time

from driver import GIVEN, TOKEN, URL, caught, finish
from pyopenwebui import Pyopenwebui

WAIT_S = 60


def client(token: str = TOKEN, is_strict: bool = False) -> Pyopenwebui:
    return Pyopenwebui(base_url=URL, bearer_token=token, max_retries=0, _strict_response_validation=is_strict)


def ask(model: str, key: str = TOKEN, **more: object) -> object:
    return client(key).api.chat.create_completion(body={"model": model, "messages": [{"role": "user", "content": "Hello"}], **more})


def answered(chat_id: str, message_id: str) -> dict:
    """The message, once its answer has ended."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        message = reading.get_by_id(chat_id).chat["history"]["messages"][message_id]
        if message.get("done"):
            return message
        time.sleep(0.05)
    raise AssertionError("the answer does not end")


ours = client()
chats = ours.api.v1.chats
strict = client(is_strict=True)
reading = strict.api.v1.chats
session = ours.api.v1.auths.signin(email=GIVEN["email"], password=GIVEN["password"])
chat = reading.create(chat={"title": "Conversation", "models": ["words"]})
first = ask("words", chat_id=chat.id, session_id="a tab")
whole = answered(chat.id, first["message_id"])
second = ask("words", chat_id=chat.id, session_id="a tab", parent_id=first["message_id"])
answered(chat.id, second["message_id"])
endless = ask("endless", chat_id=chat.id, session_id="a tab", parent_id=second["message_id"])
stopped = ours.api.tasks.stop(endless["task_id"])
ours.api.v1.folders.create(name="Project")
(folder,) = [one for one in strict.api.v1.folders.get() if one.name == "Project"]
listed = reading.get()
searched = reading.search(text="Conversation")
chats.folder.update(chat.id, folder_id=folder.id)
chats.tags.add(chat.id, name="Good idea")
chats.pin_by_id(chat.id)
chats.update_by_id(chat.id, chat={"title": "Another name"})
seen = {
    "listed": [one.title for one in listed],
    "searched": [one.id for one in searched],
    "pinned": [one.title for one in chats.pinned.get()],
    "in_folder": [one.id for one in chats.folder.get(folder.id)],
    "tags": [one.name for one in reading.tags.get_by_id(chat.id)],
    "all_tags": [one.name for one in reading.all.get_tags()],
    "renamed": reading.get_by_id(chat.id).title,
    "message": whole["content"],
    "history": reading.get_by_id(chat.id).chat["history"],
    "stopped": stopped["status"],
}
kept = chats.create(chat={"title": "Passing"})
deleted = reading.delete_by_id(kept.id)
finish(
    "pyopenwebui",
    user=session.id,
    models=[one["id"] for one in ours.api.models.list()["data"]],
    chat_id=chat.id,
    **seen,
    deleted=deleted,
    left=[one.title for one in reading.all.get()],
    errors={
        "wrong key": caught(lambda: client("sk-wrong").api.v1.chats.get()),
        "unknown model": caught(lambda: ask("nobody/at:all")),
        "limited": caught(lambda: ask("limited")),
        "failed": caught(lambda: ask("failing")),
        "unknown chat": caught(lambda: chats.get_by_id(kept.id)),
        "no such folder": caught(lambda: chats.folder.update(chat.id, folder_id=kept.id)),
    },
)
