"""Folders over HTTP: a tree of one's own, what is refused, and what becomes of the chats in it."""

import asyncio
from collections.abc import Collection
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.settings import Settings
from commands.chats.chats import Chats
from commands.generation.runs import Runs
from commands.own_chats import own_chats
from commands.own_chats.deleting import delete_chat
from domain.chat.commands import CreateChat
from domain.errors import LogUnavailable
from domain.log.event import Actor
from tests.api.conftest import Running, User, running

pytestmark = pytest.mark.anyio


async def did(user: User, path: str = "", body: Any = None, **headers: str) -> dict[str, Any]:
    answer = await user.post(f"/api/v1/folders/{path}", body, **headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def made(user: User, name: str, parent_id: str | None = None, **more: Any) -> str:
    return str((await did(user, "", {"name": name, "parent_id": parent_id, **more}))["id"])


async def refused(user: User, path: str, body: Any, **headers: str) -> tuple[int, str]:
    answer = await user.post(f"/api/v1/folders/{path}", body, **headers)
    return answer.status_code, answer.json()["code"]


async def chat_in(user: User, folder_id: str | None, title: str = "A chat") -> str:
    answer = await user.post("/api/v1/chats/new", {"chat": {"title": title}, "folder_id": folder_id})
    assert answer.status_code == 200, answer.text
    assert answer.json()["folder_id"] == folder_id
    return str(answer.json()["id"])


async def titles(user: User, path: str = "/", **query: Any) -> list[str]:
    answer = await user.get(f"/api/v1/chats{path}", **query)
    assert answer.status_code == 200, answer.text
    return [chat["title"] for chat in answer.json()]


async def tree(user: User) -> dict[str, str | None]:
    """Names, and the ids that they are in."""
    return {folder["name"]: folder["parent_id"] for folder in (await user.get("/api/v1/folders/")).json()}


# ----------------------------------------------------------------------------------------------------------- the tree


async def test_a_folder_is_made_and_shown_as_the_reference_does(server: Running) -> None:
    ada = await server.sign_up()
    assert (await ada.get("/api/v1/folders/")).json() == []
    folder = await did(ada, "", {"name": " Work ", "data": {"system_prompt": "Be brief."}, "meta": {"icon": "🦉"}})
    assert (folder["name"], folder["parent_id"], folder["user_id"], folder["is_expanded"]) == ("Work", None, ada.id, False)
    assert (folder["data"], folder["meta"], folder["items"]) == ({"system_prompt": "Be brief."}, {"icon": "🦉"}, None)
    assert folder["created_at"] == folder["updated_at"] > 1_700_000_000
    position = folder.pop("position")
    assert position > 0
    assert (await ada.get(f"/api/v1/folders/{folder['id']}")).json() == folder
    assert (await ada.get("/api/v1/folders/")).json() == [folder]
    await made(ada, "Plans", folder["id"])
    assert await tree(ada) == {"Work": None, "Plans": folder["id"]}


async def test_a_folder_is_changed_key_by_key(server: Running) -> None:
    ada = await server.sign_up()
    work = await made(ada, "Work", data={"system_prompt": "x", "files": []})
    changed = await did(ada, f"{work}/update", {"name": "Home", "data": {"files": [{"id": 1}]}, "meta": {"icon": "🏠"}})
    assert changed["name"] == "Home"
    assert (changed["data"], changed["meta"]) == ({"system_prompt": "x", "files": [{"id": 1}]}, {"icon": "🏠"})
    again = await did(ada, f"{work}/update", {"name": "Home", "data": None, "meta": {"icon": "🏠"}})
    assert again["version"] == changed["version"], "already so"
    opened = await did(ada, f"{work}/update/expanded", {"is_expanded": True})
    assert (opened["is_expanded"], opened["version"]) == (True, changed["version"] + 1)


async def test_a_folder_is_moved_but_not_into_itself(server: Running) -> None:
    ada = await server.sign_up()
    work, home = await made(ada, "Work"), await made(ada, "Home")
    plans = await made(ada, "Plans", work)
    moved = await did(ada, f"{plans}/update/parent", {"parent_id": home})
    assert moved["parent_id"] == home
    assert (await did(ada, f"{plans}/update/parent", {"parent_id": home}))["version"] == moved["version"], "already so"
    assert await refused(ada, f"{home}/update/parent", {"parent_id": plans}) == (400, "folder_cycle")
    assert (await did(ada, f"{plans}/update/parent", {"parent_id": None}))["parent_id"] is None
    assert await tree(ada) == {"Work": None, "Home": None, "Plans": None}


async def test_names_beside_each_other_differ(server: Running) -> None:
    ada = await server.sign_up()
    work = await made(ada, "Work")
    below = await made(ada, "Work", work)
    assert await refused(ada, "", {"name": "work"}) == (400, "folder_name_taken")
    assert await refused(ada, f"{below}/update/parent", {"parent_id": None}) == (400, "folder_name_taken")
    home = await made(ada, "Home")
    assert await refused(ada, f"{home}/update", {"name": " WORK"}) == (400, "folder_name_taken")
    for name in ("", "   ", "a\nb", "x" * 201):
        assert await refused(ada, "", {"name": name}) == (400, "bad_request"), name


async def test_a_folder_that_is_not_there_and_one_of_somebody_else_look_alike(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    theirs, mine = await made(ada, "Work"), await made(bob, "Mine")
    chat_id = await bob.new_chat()
    for folder_id in (theirs, str(uuid4()), "no uuid"):
        for path, body in (("update", {"name": "x"}), ("update/parent", {"parent_id": None}), ("update/expanded", {"is_expanded": True})):
            assert await refused(bob, f"{folder_id}/{path}", body) == (404, "folder_not_found")
        assert await refused(bob, "", {"name": "x", "parent_id": folder_id}) == (404, "folder_not_found")
        assert await refused(bob, f"{mine}/update/parent", {"parent_id": folder_id}) == (404, "folder_not_found")
        assert (await bob.get(f"/api/v1/folders/{folder_id}")).status_code == 404
        assert (await bob.http.delete(f"/api/v1/folders/{folder_id}")).status_code == 404
        for answer in (
            await bob.post(f"/api/v1/chats/{chat_id}/folder", {"folder_id": folder_id}),
            await bob.post("/api/v1/chats/new", {"chat": {}, "folder_id": folder_id}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "folder_not_found")
        assert await titles(bob, f"/folder/{folder_id}") == await titles(bob, f"/folder/{folder_id}/list") == []
    assert await tree(ada) == {"Work": None}
    assert len(await titles(bob)) == 1, "no chat was made"


async def test_an_id_that_a_client_gives_is_bound_to_its_user(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    folders = [await did(user, "", {"name": "Work", "id": "my folder"}) for user in (ada, bob)]
    assert folders[0]["id"] != folders[1]["id"]
    assert [folder["client_id"] for folder in folders] == ["my folder"] * 2
    assert (await ada.get("/api/v1/folders/my folder")).json()["id"] == folders[0]["id"]
    assert await refused(ada, "", {"name": "Other", "id": "my folder"}) == (409, "folder_exists")
    below = await did(ada, "", {"name": "Plans", "parent_id": "my folder"})
    assert below["parent_id"] == folders[0]["id"]
    chat_id = await ada.new_chat("Notes")
    await ada.post(f"/api/v1/chats/{chat_id}/folder", {"folder_id": "my folder"})
    assert await titles(ada, "/folder/my folder") == ["Notes"]


async def test_asked_twice_with_one_key_it_is_done_once(server: Running) -> None:
    ada = await server.sign_up()
    first, second = [await did(ada, "", {"name": "Work"}, **{"Idempotency-Key": "k"}) for _ in range(2)]
    assert first == second
    assert await refused(ada, "", {"name": "Other"}, **{"Idempotency-Key": "k"}) == (422, "idempotency_key_reused")
    chats = [
        (await ada.post("/api/v1/chats/new", {"chat": {}, "folder_id": first["id"]}, **{"Idempotency-Key": "c"})).json() for _ in range(2)
    ]
    assert chats[0]["id"] == chats[1]["id"]
    assert (await ada.http.delete(f"/api/v1/folders/{first['id']}", params={"delete_contents": False})).status_code == 200
    assert await did(ada, "", {"name": "Work"}, **{"Idempotency-Key": "k"}) == first, "what it was when it was made"
    repeated = await ada.post("/api/v1/chats/new", {"chat": {}, "folder_id": first["id"]}, **{"Idempotency-Key": "c"})
    assert repeated.json()["id"] == chats[0]["id"], "the folder has gone since: the first answer is still the answer"
    assert await tree(ada) == {}


async def test_a_command_is_done_only_at_the_version_it_was_meant_for(server: Running) -> None:
    ada = await server.sign_up()
    folder = await did(ada, "", {"name": "Work"})
    old, now = {"If-Match": f'"{folder["version"] - 1}"'}, {"If-Match": f'"{folder["version"]}"'}
    assert await refused(ada, f"{folder['id']}/update", {"name": "Home"}, **old) == (409, "version_conflict")
    conflict = await ada.http.delete(f"/api/v1/folders/{folder['id']}", headers=old)
    assert (conflict.status_code, conflict.json()["expected"], conflict.json()["current"]) == (
        409,
        folder["version"] - 1,
        folder["version"],
    )
    renamed = await did(ada, f"{folder['id']}/update", {"name": "Home"}, **now)
    assert renamed["version"] == folder["version"] + 1
    gone = await ada.http.delete(f"/api/v1/folders/{folder['id']}", headers={"If-Match": f'"{renamed["version"]}"'})
    assert (gone.status_code, gone.json()["version"]) == (200, renamed["version"] + 1)


async def test_every_tab_sees_what_happens_to_folders(server: Running) -> None:
    ada = await server.sign_up()
    wire = await server.connect(ada)
    own = f"user/{ada.id}"
    folder = await did(ada, "", {"name": "Work", "meta": {"icon": "🦉"}})
    await did(ada, f"{folder['id']}/update", {"name": "Home", "data": {"a": 1}})
    await did(ada, f"{folder['id']}/update/expanded", {"is_expanded": True})
    await ada.http.delete(f"/api/v1/folders/{folder['id']}")
    gone = await wire.event(own, "folder_deleted")
    seen = [(event["data"]["type"], event["data"]["data"]) for event in wire.events(own)]
    assert seen == [
        (
            "folder_created",
            {"folder_id": folder["id"], "name": "Work", "parent_id": None, "client_id": None, "data": {}, "meta": {"icon": "🦉"}},
        ),
        ("folder_renamed", {"folder_id": folder["id"], "name": "Home"}),
        ("folder_configured", {"folder_id": folder["id"], "data": {"a": 1}, "meta": {}}),
        ("folder_expanded", {"folder_id": folder["id"]}),
        ("folder_deleted", {"folder_id": folder["id"]}),
    ]
    assert gone["version"] == folder["version"] + 4


async def test_a_snapshot_of_ones_own_stream_has_the_folders(server: Running) -> None:
    ada = await server.sign_up()
    folder = await did(ada, "", {"name": "Work"})
    wire = await server.connect(ada)
    await wire.say(op="subscribe", id=1, stream=f"user/{ada.id}", after="start", snapshot=True)
    snapshot = await wire.op("snapshot")
    del folder["position"]
    assert snapshot["state"]["folders"] == [folder]


# ----------------------------------------------------------------------------------------------------- chats in folders


async def test_a_folder_shows_its_chats_with_those_below_it_or_without(server: Running) -> None:
    ada = await server.sign_up()
    work = await made(ada, "Work")
    plans = await made(ada, "Plans", work)
    await chat_in(ada, work, "in Work")
    await chat_in(ada, plans, "in Plans")
    await chat_in(ada, None, "in none")
    assert await titles(ada) == ["in none"]
    assert await titles(ada, f"/folder/{work}") == ["in Plans", "in Work"]
    assert await titles(ada, f"/folder/{work}/list") == ["in Work"]
    assert await titles(ada, f"/folder/{work}/list", page=2) == []
    assert await titles(ada, f"/folder/{plans}") == await titles(ada, f"/folder/{plans}/list") == ["in Plans"]


async def test_a_chat_in_a_folder_that_never_was_is_in_none(server: Running) -> None:
    """As they stand in a log that was written before folders were known."""
    ada = await server.sign_up()
    folder_id, chat_id = uuid4(), uuid4()
    chats: Chats = server.system.chats
    await chats.handle(CreateChat(chat_id=chat_id, by=UUID(ada.id), title="Old", folder_id=folder_id))
    assert await titles(ada) == ["Old"]
    assert (await ada.get("/api/v1/chats/")).json()[0]["folder_id"] is None
    assert (await ada.get(f"/api/v1/chats/{chat_id}")).json()["folder_id"] is None
    assert await titles(ada, f"/folder/{folder_id}") == []
    assert await made(ada, "Found again", id=str(folder_id)) == str(folder_id)
    assert await titles(ada) == []
    assert await titles(ada, f"/folder/{folder_id}") == ["Old"]
    assert (await ada.get(f"/api/v1/chats/{chat_id}")).json()["folder_id"] == str(folder_id)


async def test_a_folder_goes_with_its_chats(server: Running) -> None:
    await server.sign_up("Root")  # an admin reads what was deleted
    ada = await server.sign_up()
    work = await made(ada, "Work")
    plans = await made(ada, "Plans", work)
    await made(ada, "Home")
    inside = [await chat_in(ada, work), await chat_in(ada, plans)]
    await chat_in(ada, None, "stays")
    begun = await ada.ask(inside[1], "demo:100000")
    gone = await ada.http.delete(f"/api/v1/folders/{work}")
    assert (gone.status_code, gone.json()["id"]) == (200, work)
    assert await tree(ada) == {"Home": None}
    assert await titles(ada, include_folders=True, at_least=gone.json()["position"]) == ["stays"]
    assert (await ada.get(f"/api/v1/chats/{inside[0]}")).json()["code"] == "chat_not_found"
    assert (await ada.post(f"/api/tasks/stop/{begun['task_id']}")).status_code == 404, "what ran in it was stopped"
    assert (await ada.http.delete(f"/api/v1/folders/{work}")).status_code == 404


async def test_a_folder_goes_and_its_chats_stay(server: Running) -> None:
    ada = await server.sign_up()
    work = await made(ada, "Work")
    plans = await made(ada, "Plans", work)
    await chat_in(ada, work, "one")
    two = await chat_in(ada, plans, "two")
    assert (await ada.http.delete(f"/api/v1/folders/{work}", params={"delete_contents": "false"})).status_code == 200
    assert sorted(await titles(ada)) == ["one", "two"]
    events = (await ada.get(f"/api/v1/chats/{two}/events")).json()["events"]
    assert events[-1]["event"]["data"] == {"type": "chat_moved", "data": {"folder_id": None}}


async def test_what_was_interrupted_is_finished_by_asking_again(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = await server.sign_up()
    work = await made(ada, "Work")
    plans = await made(ada, "Plans", work)
    chats = [await chat_in(ada, folder_id) for folder_id in (work, plans, work)]

    async def away(chats: Chats, runs: Runs, actor: Actor, chat_id: UUID, only_from: Collection[UUID] | None = None) -> None:
        if chat_id == UUID(chats_away):
            raise LogUnavailable("gone for a moment")
        await delete_chat(chats, runs, actor, chat_id, only_from)

    chats_away = chats[1]
    monkeypatch.setattr(own_chats, "delete_chat", away)
    broken = await ada.http.delete(f"/api/v1/folders/{work}")
    assert (broken.status_code, broken.json()["code"]) == (503, "log_unavailable")
    assert set(await tree(ada)) == {"Work", "Plans"}, "the folder goes last"
    assert len(await titles(ada, f"/folder/{work}")) == 1
    monkeypatch.undo()
    assert (await ada.http.delete(f"/api/v1/folders/{work}")).status_code == 200
    assert (await tree(ada), await titles(ada, include_folders=True)) == ({}, [])


async def test_all_chats_are_meant_however_many_a_page_holds(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_chats, "OWN_CHATS_PAGE", 2)
    ada = await server.sign_up()
    work = await made(ada, "Work")
    for number in range(5):
        await chat_in(ada, work, f"chat {number}")
    assert (await ada.http.delete(f"/api/v1/folders/{work}", params={"delete_contents": "false"})).status_code == 200
    assert len(await titles(ada)) == 5
    for path, archived in (("archive", 5), ("unarchive", 0)):
        assert (await ada.post(f"/api/v1/chats/{path}/all")).json() is True
        assert len(await titles(ada, "/archived")) == archived
    assert (await ada.http.delete("/api/v1/chats/")).json() is True
    assert await titles(ada) == []


async def test_on_postgres_a_folder_goes_with_its_chats_and_every_tab_sees_it(settings: Settings, database: str) -> None:
    async with running(settings, database) as server:
        await server.sign_up("Root")
        ada = await server.sign_up()
        wire = await server.connect(ada)
        work = await made(ada, "Work")
        plans = await made(ada, "Plans", work)
        chats = [await chat_in(ada, folder_id, f"{number}") for number, folder_id in enumerate([work, plans] * 10)]
        stays = await chat_in(ada, None, "stays")
        moved = (await ada.post(f"/api/v1/chats/{stays}/folder", {"folder_id": await made(ada, "Home")})).json()
        assert len(await titles(ada, f"/folder/{work}", at_least=moved["position"])) == 20
        assert await titles(ada, f"/folder/{plans}/list", page=1) == [f"{number}" for number in range(19, 0, -2)]
        assert await titles(ada) == []
        begun = await ada.ask(chats[-1], "demo:100000")
        answer = await ada.http.delete(f"/api/v1/folders/{work}", timeout=60)
        assert answer.status_code == 200, answer.text
        gone = await wire.event(f"user/{ada.id}", "folder_deleted")
        assert (gone["version"], gone["position"]) == (answer.json()["version"], answer.json()["position"])
        types = [event["data"]["type"] for event in wire.events(f"user/{ada.id}")]
        assert types == ["folder_created"] * 2 + ["chat_listed"] * 21 + ["folder_created"] + ["chat_unlisted"] * 20 + ["folder_deleted"]
        assert await titles(ada, include_folders=True, at_least=gone["position"]) == ["stays"]
        assert await tree(ada) == {"Home": None}
        assert (await ada.post(f"/api/tasks/stop/{begun['task_id']}")).status_code == 404
        for chat_id in chats:
            assert (await ada.get(f"/api/v1/chats/{chat_id}")).json()["code"] == "chat_not_found"


async def test_what_is_moved_while_its_folder_goes_is_never_lost(server: Running) -> None:
    ada = await server.sign_up()
    work, home = await made(ada, "Work"), await made(ada, "Home")
    chats = [await chat_in(ada, home, f"{number}") for number in range(20)]

    async def into(chat_id: str) -> int:
        return (await ada.post(f"/api/v1/chats/{chat_id}/folder", {"folder_id": work})).status_code

    statuses, gone = await asyncio.gather(
        asyncio.gather(*map(into, chats)), ada.http.delete(f"/api/v1/folders/{work}", params={"delete_contents": "false"})
    )
    assert gone.status_code == 200
    assert set(statuses) <= {200, 404}
    lists = [await titles(ada), await titles(ada, f"/folder/{home}"), await titles(ada, f"/folder/{work}")]
    listed = [title for one in lists for title in one]
    assert sorted(listed, key=int) == [str(number) for number in range(20)], "each in one list"
    assert lists[2] == []
