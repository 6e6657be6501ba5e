"""Access is checked on a chat's head: a request without it loads no message, however long the chat is."""

from typing import Any
from uuid import UUID

import pytest

from adapters.memory.blobs import MemoryBlobs
from adapters.memory.chat_queries import MemoryChatQueries
from adapters.memory.log import MemoryLog
from tests.api.conftest import Running, User

pytestmark = pytest.mark.anyio

SAVED: dict[str, Any] = {"chat": {"history": {"messages": {}, "currentId": None}}}
# Everything that loads messages of one chat, for those who may read it.
ROUTES: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/api/v1/chats/{chat_id}", {}),
    ("GET", "/api/v1/chats/{chat_id}?at={cursor}", {}),
    ("GET", "/api/v1/chats/{chat_id}?at=2100-01-01", {}),
    ("GET", "/api/v1/chats/{chat_id}/messages", {}),
    ("GET", "/api/v1/chats/{chat_id}/messages?at={cursor}", {}),
    ("GET", "/api/v1/chats/{chat_id}/messages?leaf={message_id}", {}),
    ("GET", "/api/v1/chats/{chat_id}/events", {}),
    ("GET", "/api/v1/chats/{chat_id}/export?format=markdown", {}),
    ("GET", "/api/v1/chats/{chat_id}/export?format=html", {}),
    ("GET", "/api/v1/chats/{chat_id}/export?format=open-webui", {}),
    ("GET", "/api/v1/chats/stats/export/{chat_id}", {}),
    ("GET", "/api/v1/chats/share/{share_id}", {}),
    ("POST", "/api/v1/chats/{chat_id}", SAVED),
    ("POST", "/api/v1/chats/{chat_id}/clone", {}),
    ("POST", "/api/v1/chats/{share_id}/clone/shared", {}),
    ("POST", "/api/v1/chats/{chat_id}/fork", {}),
    ("POST", "/api/chat/completions", {"chat_id": "{chat_id}", "model": "demo:1", "session_id": "tab"}),
]


@pytest.fixture
def loaded(server: Running, monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """The chats of which messages were loaded, in order."""
    chats: list[UUID] = []
    log, blobs = server.system.log, server.system.stores.blobs
    assert isinstance(log, MemoryLog)
    assert isinstance(blobs, MemoryBlobs)
    history = MemoryChatQueries(log, blobs)

    async def chat(chat_id: UUID, *, at: int | None = None) -> Any:
        chats.append(chat_id)
        return await history.chat(chat_id, at=at)

    async def branch(chat_id: UUID, *, limit: int, **options: Any) -> Any:
        if limit > 0:
            chats.append(chat_id)
        return await history.branch(chat_id, limit=limit, **options)

    monkeypatch.setattr(server.system.chat_queries, "chat", chat)
    monkeypatch.setattr(server.system.chat_queries, "branch", branch)
    monkeypatch.setattr(server.system.chat_queries, "listed", history.listed)  # here a list is made from the chats themselves
    return chats


async def shared_with_nobody(server: Running, user: User) -> dict[str, str]:
    chat_id = await user.new_chat()
    message_id = str((await user.add(chat_id, "secret"))["message_id"])
    share_id = (await user.post(f"/api/v1/chats/{chat_id}/share")).json()["share_id"]
    nobody: dict[str, Any] = {"access_grants": []}
    assert (await user.post(f"/api/v1/chats/shared/{chat_id}/access/update", nobody)).status_code == 200
    return {"chat_id": chat_id, "message_id": message_id, "share_id": share_id, "cursor": server.cursor(2)}


async def test_without_access_no_message_is_loaded(server: Running, loaded: list[UUID]) -> None:
    await server.sign_up("Root")
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    ids = await shared_with_nobody(server, ada)
    for method, path, body in ROUTES:
        sent = {key: value.format(**ids) if isinstance(value, str) else value for key, value in body.items()}
        url = path.format(**ids)
        options: dict[str, Any] = {"json": sent} if method == "POST" else {}
        loaded.clear()
        refused = await bob.http.request(method, url, **options)
        assert (path, refused.status_code, loaded) == (path, 401, [])
        assert "secret" not in refused.text
        answered = await ada.http.request(method, url, **options)
        assert (path, answered.status_code) == (path, 200)
        assert UUID(ids["chat_id"]) in loaded, f"{path} loads messages for those who may read them"


async def test_a_list_of_whole_chats_loads_none_of_those_that_others_share(server: Running, loaded: list[UUID]) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    theirs, own = await ada.new_chat("Ada's"), await bob.new_chat("Bob's")
    await ada.post(f"/api/v1/chats/{theirs}/access", {"user_id": bob.id, "permission": "write"})
    loaded.clear()
    chats = (await bob.get("/api/v1/chats/all")).json()
    assert ([one["id"] for one in chats], loaded) == ([own], [UUID(own)])
