"""A whole saved chat is merged: whatever the interleaving no edit that was accepted is lost, and a refusal names a real conflict."""

import asyncio
from collections.abc import Mapping
from copy import deepcopy
from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest
from hypothesis import given, strategies

from adapters.memory.blobs import MemoryBlobs
from adapters.memory.chat_queries import MemoryChatQueries
from adapters.memory.log import MemoryLog
from commands.chats.chats import Chats
from commands.saving.saved_chat import parse_saved_chat
from commands.saving.saver import ChatSaver
from domain.chat.commands import AddMessage, CreateChat, ShareChat
from domain.errors import EditConflict
from domain.log.event import Actor
from projections.chat import message_to_json
from tests.api.conftest import Running, User
from tests.domain.histories import FEW, TEXTS

CHAT = UUID(int=0xC0)
ADA, BOB = Actor(UUID(int=0xA0), "Ada", "user"), Actor(UUID(int=0xA1), "Bob", "user")
KEYS = ["content", "note"]

# ------------------------------------------------------------------------------------------------- whatever they do


class Client:
    """Somebody who changes a copy and saves it, and takes up what the server answers."""

    def __init__(self, world: "World", actor: Actor) -> None:
        self.world = world
        self.actor = actor
        self.version = 0
        self.read: dict[str, Any] = {}
        self.copy: dict[str, Any] = {}

    async def reload(self) -> None:
        view = await self.world.history.chat(CHAT)
        self.version = view.version
        self.read = msgspec.json.decode(msgspec.json.encode(view.to_json()["chat"]))
        self.copy = deepcopy(self.read)

    @property
    def messages(self) -> dict[str, Any]:
        return dict(self.copy["history"]["messages"])

    def edits(self) -> dict[tuple[str, str], Any]:
        before = self.read["history"]["messages"]
        return {
            (one, key): message[key]
            for one, message in self.messages.items()
            if one in before
            for key in KEYS
            if key in message and message[key] != before[one].get(key)
        }

    def additions(self) -> set[str]:
        return self.messages.keys() - self.read["history"]["messages"].keys()

    def edit(self, number: int, key: str, value: str) -> None:
        ids = sorted(self.messages)
        self.copy["history"]["messages"][ids[number % len(ids)]][key] = value

    def forget(self, number: int) -> None:
        """As a client that has loaded only a part."""
        ids = sorted(self.messages.keys() - self.additions())
        if len(ids) > 1:
            del self.copy["history"]["messages"][ids[number % len(ids)]]

    def add(self, number: int, text: str) -> None:
        ids = sorted(self.messages)
        new = str(uuid5(self.actor.id, f"{self.world.made}"))
        self.world.made += 1
        parent = ids[number % len(ids)]
        self.copy["history"]["messages"][new] = {"id": new, "parentId": parent, "childrenIds": [], "role": "user", "content": text}
        self.copy["history"]["currentId"] = new

    async def save(self, *, named: bool = True) -> EditConflict | None:
        world = self.world
        saver = ChatSaver(world.chats, world.history, world.log, world.blobs)
        try:
            saved_chat = parse_saved_chat(self.copy, self.actor.id, self.version if named else None)
            await saver.save(self.actor, CHAT, saved_chat, None)
        except EditConflict as conflict:
            return conflict
        return None


class World:
    def __init__(self) -> None:
        self.log, self.blobs = MemoryLog(), MemoryBlobs()
        self.history = MemoryChatQueries(self.log, self.blobs)
        self.chats = Chats(self.log)
        self.made = 0

    async def start(self) -> None:
        await self.chats.handle(CreateChat(chat_id=CHAT, by=ADA.id, title="A chat"), actor=ADA)
        await self.chats.handle(CreateChat(chat_id=UUID(int=0xC1), by=BOB.id, title="Bob's"), actor=BOB)
        await self.chats.handle(ShareChat(chat_id=CHAT, by=ADA.id, user_id=BOB.id, permission="write"), actor=ADA)
        for number in range(2):
            message_id = uuid5(CHAT, str(number))
            await self.chats.handle(
                AddMessage(chat_id=CHAT, by=ADA.id, message_id=message_id, parent_id=None, role="user", content=f"first {number}"),
                actor=ADA,
            )

    async def messages(self) -> dict[str, Mapping[str, Any]]:
        return {one: message_to_json(message) for one, message in (await self.history.chat(CHAT)).messages.items()}


WHO = strategies.integers(0, 2)  # Ada, Bob, and Ada in another tab
NUMBERS = strategies.sampled_from([0, 0, 0, 1, 2, 3])  # mostly the same, or they would never meet
STEPS = strategies.lists(
    strategies.one_of(
        *[strategies.tuples(strategies.just("edit"), WHO, NUMBERS, strategies.sampled_from(KEYS), TEXTS)] * 3,
        strategies.tuples(strategies.just("add"), WHO, NUMBERS, TEXTS),
        strategies.tuples(strategies.just("forget"), WHO, NUMBERS),
        strategies.tuples(strategies.just("reload"), WHO),
        strategies.tuples(strategies.just("save"), WHO),
        strategies.tuples(strategies.just("save"), WHO),
    ),
    min_size=12,
    max_size=30,
)


async def work_on(client: Client, step: Any) -> None:
    """Any step but a save."""
    match step:
        case ("edit", _, number, key, value):
            client.edit(number, key, value)
        case ("add", _, number, text):
            client.add(number, text)
        case ("forget", _, number):
            client.forget(number)
        case ("reload", _):
            await client.reload()


@FEW
@given(steps=STEPS)
def test_no_accepted_edit_is_ever_lost_and_every_refusal_names_a_real_conflict(steps: Any) -> None:
    async def check() -> None:
        world = World()
        await world.start()
        clients = [Client(world, actor) for actor in (ADA, BOB, ADA)]
        for client in clients:
            await client.reload()
        for step in steps:
            client = clients[step[1]]
            if step[0] == "save":
                await saved(world, client)
            else:
                await work_on(client, step)

    async def saved(world: World, client: Client) -> None:
        before, edits, additions, read = await world.messages(), client.edits(), client.additions(), client.read["history"]["messages"]
        conflict = await client.save()
        after = await world.messages()
        both = {
            (one, key)
            for (one, key), value in edits.items()
            if before[one].get(key) != read[one].get(key) and before[one].get(key) != value
        }
        if conflict is not None:
            assert {(str(one["message_id"]), key) for one in conflict.conflicts for key in one["keys"]} == both, (
                "a real one, and each of them"
            )
            assert after == before, "nothing was written"
            for one in conflict.conflicts:
                assert one["yours"] == client.messages[str(one["message_id"])]
                assert one["current"] == before[str(one["message_id"])]
                assert client.version < one["current_version"] <= conflict.current
        else:
            assert not both
            for one, message in before.items():
                for key in KEYS:
                    assert after[one].get(key) == edits.get((one, key), message.get(key)), "its edits, and nobody else's undone"
            assert after.keys() == before.keys() | additions, "what the copy lacks was not deleted"
        await client.reload()

    asyncio.run(check())


@FEW
@given(steps=STEPS)
def test_who_does_not_say_what_it_had_read_never_undoes_what_another_person_did(steps: Any) -> None:
    async def check() -> None:
        world = World()
        await world.start()
        clients = [Client(world, actor) for actor in (ADA, BOB, ADA)]
        for client in clients:
            await client.reload()
        editors: dict[tuple[str, str], Actor] = {}
        for step in steps:
            client = clients[step[1]]
            if step[0] != "save":
                await work_on(client, step)
                continue
            before, additions = await world.messages(), client.additions()
            conflict = await client.save(named=False)
            after = await world.messages()
            if conflict is not None:
                assert after == before
                for one in conflict.conflicts:
                    for key in one["keys"]:
                        assert editors[str(one["message_id"]), key] is not client.actor
                await client.reload()
                continue
            assert after.keys() == before.keys() | additions
            for one, message in before.items():
                for key in KEYS:
                    if after[one].get(key) != message.get(key):
                        assert after[one].get(key) == client.messages[one][key], "it says what its client said"
                        assert editors.get((one, key), client.actor) is client.actor
                        editors[one, key] = client.actor

    asyncio.run(check())


@FEW
@given(texts=strategies.lists(TEXTS, min_size=2, max_size=4, unique=True), data=strategies.data())
def test_of_saves_at_the_same_moment_each_is_kept_or_told(texts: list[str], data: strategies.DataObject) -> None:
    """They read before any of them has written: the second one finds out when it appends."""
    same = data.draw(strategies.booleans())

    async def check() -> None:
        world = World()
        await world.start()
        clients = [Client(world, ADA if number % 2 else BOB) for number in range(len(texts))]
        for number, (client, text) in enumerate(zip(clients, texts, strict=True)):
            await client.reload()
            client.edit(0 if same else number, "content", text)
        outcomes = await asyncio.gather(*(client.save() for client in clients))
        held = [message["content"] for _, message in sorted((await world.messages()).items())]
        if same:
            accepted = [client for client, conflict in zip(clients, outcomes, strict=True) if conflict is None and client.edits()]
            assert len(accepted) <= 1
            assert all(next(iter(client.edits().values())) == held[0] for client in accepted)
        for client, conflict in zip(clients, outcomes, strict=True):
            if conflict is None:
                assert all(value in held for value in client.edits().values())

    asyncio.run(check())


# --------------------------------------------------------------------------------------------------------- over HTTP


async def read(user: User, chat_id: str) -> dict[str, Any]:
    answer = await user.get(f"/api/v1/chats/{chat_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def save(user: User, chat_id: str, chat: Any, version: int | None = None, **headers: str) -> Any:
    return await user.post(f"/api/v1/chats/{chat_id}", {"chat": chat, **({"version": version} if version is not None else {})}, **headers)


def message(text: str, parent: str | None = None, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"parentId": parent, "childrenIds": [], "role": role, "content": text, **more}


@pytest.mark.anyio
async def test_a_client_that_saves_whole_histories_builds_a_chat_with_nothing_else(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    history = {"messages": {"b": message("World", "a", "assistant", done=True, model="m"), "a": message("Hello", odd=1)}, "currentId": "b"}
    first = (await save(user, chat_id, {"models": ["m"], "history": history, "params": {}})).json()
    held = first["chat"]["history"]["messages"]
    assert [one["content"] for one in first["chat"]["messages"]] == ["Hello", "World"]
    assert [one.get("odd") for one in held.values()] == [1, None]
    assert first["chat"]["models"] == ["m"]
    history["messages"]["b"]["content"] = "World!"
    for _ in range(2):
        again = (await save(user, chat_id, {"models": ["m"], "history": history, "params": {}})).json()
        assert [one["content"] for one in again["chat"]["messages"]] == ["Hello", "World!"]
    history["messages"]["b"]["content"] = "World?"
    second = (await save(user, chat_id, {"history": history})).json()
    assert second["version"] == again["version"] + 1, "what is not new is no event"
    history["messages"]["b"]["content"] = "World"
    stale = (await save(user, chat_id, {"history": history})).json()
    assert stale["chat"]["messages"][-1]["content"] == "World?", "it said so once: an old copy, not an edit"
    assert stale["kept"] == [stale["chat"]["history"]["currentId"]]


@pytest.mark.anyio
async def test_somebody_elses_edit_is_named_with_both_versions_and_nothing_is_saved(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    said = (await ada.add(chat_id, "Helo"))["message_id"]
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": "write"})
    ours, theirs = await read(ada, chat_id), await read(bob, chat_id)
    ours["chat"]["history"]["messages"][said]["content"] = "Hello"
    theirs["chat"]["history"]["messages"][said]["content"] = "Hallo"
    theirs["chat"]["history"]["messages"]["new"] = message("and more", said)
    assert (await save(ada, chat_id, ours["chat"], ours["version"])).status_code == 200
    for version, headers in ((theirs["version"], {}), (None, {"if-match": f'"{theirs["version"]}"'}), (None, {})):
        refused = await save(bob, chat_id, theirs["chat"], version, **headers)
        assert (refused.status_code, refused.json()["code"]) == (409, "edit_conflict"), refused.text
        [conflict] = refused.json()["conflicts"]
        assert (conflict["message_id"], conflict["keys"]) == (said, ["content"])
        assert (conflict["yours"]["content"], conflict["current"]["content"]) == ("Hallo", "Hello")
        assert conflict["current_version"] == ours["version"] + 1
    assert len((await read(ada, chat_id))["chat"]["history"]["messages"]) == 1
    refused = await save(bob, chat_id, theirs["chat"], theirs["version"] + 100)
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")


@pytest.mark.anyio
async def test_what_others_deleted_stays_deleted_and_what_answered_it_moves_up(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    root = (await user.add(chat_id, "root"))["message_id"]
    gone = (await user.add(chat_id, "gone", root))["message_id"]
    copy = await read(user, chat_id)
    await user.http.delete(f"/api/v1/chats/{chat_id}/messages/{gone}")
    copy["chat"]["history"]["messages"]["late"] = message("late", gone)
    saved = (await save(user, chat_id, copy["chat"], copy["version"])).json()
    late = [one for one in saved["chat"]["history"]["messages"].values() if one["content"] == "late"]
    assert [one["parentId"] for one in late] == [root]
    assert gone not in saved["chat"]["history"]["messages"]
    copy["chat"]["history"]["messages"][gone]["content"] = "not any more"
    refused = (await save(user, chat_id, copy["chat"], copy["version"])).json()
    assert refused["code"] == "edit_conflict"
    assert refused["conflicts"][0]["current"] is None


@pytest.mark.anyio
async def test_an_answer_that_is_being_written_is_not_touched_by_a_copy(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    asked = await user.ask(chat_id, "demo:2000")
    answer_id = asked["message_id"]
    copy = await read(user, chat_id)
    assert copy["chat"]["history"]["messages"][answer_id]["done"] is False
    copy["chat"]["history"]["messages"][answer_id]["content"] = "cut off"
    for version in (None, copy["version"]):
        saved = (await save(user, chat_id, copy["chat"], version)).json()
        assert saved["kept"] == [answer_id]
    await user.post(f"/api/tasks/stop/{asked['task_id']}")
    ended = await read(user, chat_id)
    while not ended["chat"]["history"]["messages"][answer_id]["done"]:
        ended = await read(user, chat_id)
    for version in (None, copy["version"]):
        saved = (await save(user, chat_id, copy["chat"], version)).json()
        assert saved["chat"]["history"]["messages"][answer_id]["content"] == ended["chat"]["history"]["messages"][answer_id]["content"]
    ended["chat"]["history"]["messages"][answer_id]["content"] = "An edit, now that it has ended."
    saved = (await save(user, chat_id, ended["chat"], ended["version"])).json()
    assert saved["chat"]["history"]["messages"][answer_id]["content"] == "An edit, now that it has ended."


@pytest.mark.anyio
async def test_the_place_of_an_answer_that_is_to_be_asked_for_is_left_free(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    history = {"messages": {"q": message("Hello"), "a": message("", "q", "assistant", model="demo:3")}, "currentId": "a"}
    saved = (await save(user, chat_id, {"history": history})).json()
    assert [one["content"] for one in saved["chat"]["messages"]] == ["Hello"]
    asked = await user.ask(chat_id, "demo:3", "Hello", id="a", parent_id="q")
    assert asked["message_id"] not in saved["chat"]["history"]["messages"]


@pytest.mark.anyio
async def test_ratings_branches_and_settings_of_a_copy_are_merged_too(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat("Plans")
    first, second = (await ada.add(chat_id, "one"))["message_id"], (await ada.add(chat_id, "two"))["message_id"]
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": "write"})
    copy, other = await read(ada, chat_id), await read(bob, chat_id)
    assert copy["chat"]["history"]["currentId"] == second
    copy["chat"]["history"]["currentId"] = first
    copy["chat"]["history"]["messages"][first]["annotation"] = {"rating": 1}
    copy["chat"]["title"] = copy["title"] = "Better plans"
    copy["chat"]["params"] = {"seed": 1}
    saved = (await save(ada, chat_id, copy["chat"], copy["version"])).json()
    assert (saved["title"], saved["chat"]["params"], saved["chat"]["history"]["currentId"]) == ("Better plans", {"seed": 1}, first)
    assert saved["chat"]["history"]["messages"][first]["annotation"]["rating"] == 1
    other["chat"]["history"]["messages"][second]["content"] = "two!"
    merged = (await save(bob, chat_id, other["chat"], other["version"])).json()
    assert (merged["title"], merged["chat"]["history"]["currentId"]) == ("Better plans", first), "an older copy changes neither"
    other["chat"]["title"] = "Other plans"
    refused = (await save(bob, chat_id, other["chat"], other["version"])).json()
    assert [(one["message_id"], one["keys"]) for one in refused["conflicts"]] == [(None, ["title"])]


@pytest.mark.anyio
async def test_a_copy_that_is_no_chat_is_refused_with_the_message_named(server: Running) -> None:
    user, other = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await user.new_chat()
    for messages, named in (
        ([], "chat.history.messages"),
        ({"a": 5}, "message a"),
        ({"a": message("x", role="robot")}, "robot"),
        ({"a": message("x", "nowhere")}, "expected a parent"),
        ({"a": message("x", "b"), "b": message("y", "a")}, "expected a tree"),
        ({"a": {**message("x"), "parentId": 7}}, "parentId"),
    ):
        refused = await save(user, chat_id, {"history": {"messages": messages}})
        assert refused.status_code == 400, messages
        assert named in refused.json()["detail"]
    assert (await read(user, chat_id))["version"] == 1
    assert (await save(other, chat_id, {"history": {"messages": {}}})).status_code == 401


@pytest.mark.anyio
async def test_a_repeated_save_gets_its_first_answer_and_large_content_is_kept_whole(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    large = "ü" * 200_000
    body = {"history": {"messages": {"a": message(large)}}}
    first = await save(user, chat_id, body, **{"idempotency-key": "k"})
    await user.add(chat_id, "in between")
    again = await save(user, chat_id, body, **{"idempotency-key": "k"})
    assert again.json() == first.json()
    assert first.json()["chat"]["messages"][0]["content"] == large
    unchanged = (await save(user, chat_id, body)).json()
    assert unchanged["version"] == first.json()["version"] + 1
