"""``POST /api/v1/chats/import``: for the caller alone, all or none, and the same again when repeated."""

from typing import Any

import pytest

from tests.api.conftest import Running
from tests.commands.transfer.test_open_webui import ANSWER, OTHER, QUESTION, history, row

pytestmark = pytest.mark.anyio
IMPORT = "/api/v1/chats/import"


def numbered(number: int, **changes: Any) -> dict[str, Any]:
    return {**row(), "id": f"c{number}", "title": f"Chat {number}", **changes}


async def test_chats_become_the_callers_own(server: Running) -> None:
    ada, bob = await server.sign_up("Ada"), await server.sign_up("Bob")
    answer = await ada.post(IMPORT, {"chats": [numbered(1), numbered(2)]})
    assert answer.status_code == 200, answer.text
    first = answer.json()[0]
    assert (first["title"], first["outcome"], first["pinned"]) == ("Chat 1", "imported", True)
    chat = (await ada.get(f"/api/v1/chats/{first['id']}")).json()
    assert (chat["version"], chat["created_at"], chat["updated_at"]) == (first["version"], 1_600_000_000, 1_600_000_100)
    messages = chat["chat"]["history"]["messages"]
    question = next(one for one in messages.values() if one["role"] == "user")
    assert [messages[child]["client_id"] for child in question["childrenIds"]] == ["b", "a"]
    assert question["timestamp"] == QUESTION["timestamp"]
    answered = next(one for one in messages.values() if one.get("client_id") == "a")
    assert answered["annotation"] == ANSWER["annotation"]
    assert answered["usage"] == ANSWER["usage"]
    assert (await bob.get(f"/api/v1/chats/{first['id']}")).status_code == 401
    theirs = (await bob.post(IMPORT, {"chats": [numbered(1)]})).json()
    assert theirs[0]["outcome"] == "imported" and theirs[0]["id"] != first["id"]


async def test_to_repeat_it_changes_nothing(server: Running) -> None:
    ada = await server.sign_up()
    first = (await ada.post(IMPORT, {"chats": [numbered(1)]})).json()
    head = await server.system.log.head()
    again = (await ada.post(IMPORT, {"chats": [numbered(1)]})).json()
    assert again[0]["outcome"] == "there"
    assert (again[0]["id"], again[0]["version"]) == (first[0]["id"], first[0]["version"])
    assert await server.system.log.head() == head


async def test_one_chat_alone_is_taken_too(server: Running) -> None:
    ada = await server.sign_up()
    answer = await ada.post(IMPORT, {"chat": row()["chat"], "meta": {"tags": ["x"]}, "pinned": False, "created_at": 1_600_000_000})
    assert answer.status_code == 200, answer.text
    chat = (await ada.get(f"/api/v1/chats/{answer.json()['id']}")).json()
    assert (chat["title"], chat["meta"]["tags"], chat["created_at"]) == ("inner", ["x", "Inner"], 1_600_000_000)


async def test_where_one_is_refused_none_is_written(server: Running) -> None:
    ada = await server.sign_up()
    head = await server.system.log.head()
    bad = numbered(2, chat={"history": history({**QUESTION, "childrenIds": []}, {**ANSWER, "parentId": "nobody"}, OTHER)})
    answer = await ada.post(IMPORT, {"chats": [numbered(1), bad]})
    assert (answer.status_code, answer.json()["code"]) == (400, "import_refused")
    assert "'Chat 2' (c2): history.messages.a.parentId" in answer.json()["detail"]
    assert await server.system.log.head() == head


@pytest.mark.parametrize("body", [{}, {"chats": [{}]}, {"chats": [numbered(1), numbered(1)]}, {"chats": 7}])
async def test_what_is_no_import_is_refused(server: Running, body: Any) -> None:
    ada = await server.sign_up()
    assert (await ada.post(IMPORT, body)).status_code == 400


async def test_what_is_kept_by_reference_is_shown_whole(server: Running) -> None:
    ada = await server.sign_up()
    files = [{"type": "image", "url": "data:image/png;base64," + "A" * 300_000}]
    given = row(history=history({**QUESTION, "files": files, "content": "x" * 200_000}, ANSWER, OTHER), files=files)
    [made] = (await ada.post(IMPORT, {"chats": [given]})).json()
    chat = (await ada.get(f"/api/v1/chats/{made['id']}")).json()["chat"]
    question = next(one for one in chat["history"]["messages"].values() if one["role"] == "user")
    assert (question["files"], question["content"], chat["files"]) == (files, "x" * 200_000, files)


async def test_a_chat_comes_into_a_folder_of_ones_own_alone(server: Running) -> None:
    ada, bob = await server.sign_up("Ada"), await server.sign_up("Bob")
    mine = (await ada.post("/api/v1/folders/", {"name": "Work"})).json()["id"]
    theirs = (await bob.post("/api/v1/folders/", {"name": "Work"})).json()["id"]
    folders = [mine, theirs, "work", None]
    made = (await ada.post(IMPORT, {"chats": [numbered(number, folder_id=folder) for number, folder in enumerate(folders)]})).json()
    assert [one["folder_id"] for one in made] == [mine, None, None, None]
    assert [one["id"] for one in (await ada.get(f"/api/v1/chats/folder/{mine}")).json()] == [made[0]["id"]]
