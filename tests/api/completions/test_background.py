"""Work after an answer: titles, tags and follow-up questions by a task model, and when there are none."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
import pytest

from api.settings import Settings
from commands.background.prompts import PROMPTS
from domain.chat.commands import RenameChat
from tests.adapters.providers.scripted import DONE, LAST, SSE_HEAD, Asked, Peer, chunk, said
from tests.api.completions.support import MODEL, server_asking
from tests.api.conftest import Running, User
from tests.commands.world import until

pytestmark = pytest.mark.anyio

ALL = {"title_generation": True, "tags_generation": True, "follow_up_generation": True}
ANSWERS = {
    "title": 'Here: {"title": "Owls at night"}',
    "tags": "{'tags': ['Birds', 'Night']}",
    "follow_ups": '```json\n{"follow_ups": ["Why?", "When?"]}\n```',
}


class Scene:
    """One user whose server asks a provider that does the tasks by ``answers``, and answers everything else by ``42``."""

    def __init__(self) -> None:
        self.answers = dict(ANSWERS)
        self.asked: list[str] = []  # the tasks that the provider was asked to do
        self.hold = asyncio.Event()  # the tasks wait for it
        self.hold.set()
        self.user: User
        self.server: Running

    async def answer(self, peer: Peer, asked: Asked) -> None:
        content = asked.json["messages"][-1]["content"]
        kind = next((kind for kind, prompt in PROMPTS.items() if isinstance(content, str) and content.startswith(prompt)), None)
        if kind is not None:
            self.asked.append(kind)
            await self.hold.wait()
        await peer.send(SSE_HEAD, chunk(said(self.answers[kind] if kind is not None else "42", "stop")), chunk(DONE), LAST)

    async def ask(self, chat_id: str, **body: Any) -> dict[str, Any]:
        begun = await self.user.ask(chat_id, MODEL, **{"background_tasks": ALL, **body})
        await self.settled()
        return begun

    async def settled(self) -> None:
        """All work is done."""
        await until(lambda: not len(self.server.system.background) and not len(self.server.system.runs))

    async def chat(self, chat_id: str) -> dict[str, Any]:
        return dict((await self.user.get(f"/api/v1/chats/{chat_id}")).json())

    async def events(self, chat_id: str, *types: str) -> list[dict[str, Any]]:
        answer = await self.user.get(f"/api/v1/streams/chat/{chat_id}/events", types=",".join(types))
        return [{**event, **event["data"]} for event in answer.json()["events"]]


@asynccontextmanager
async def scene(settings: Settings, **changed: Any) -> AsyncIterator[Scene]:
    made = Scene()
    own = msgspec.structs.replace(settings, **{"task_model": "current", **changed})
    async with server_asking(own, made.answer) as (server, _):
        made.server, made.user = server, await server.sign_up()
        yield made
        made.hold.set()


async def test_a_chat_is_named_tagged_and_its_answer_followed_by_questions(settings: Settings) -> None:
    async with scene(settings, default_params={"system": "A prompt that a task is not about."}) as there:
        chat_id = await there.user.new_chat("New Chat")
        begun = await there.ask(chat_id)
        chat = await there.chat(chat_id)
        assert (chat["title"], chat["meta"]["tags"]) == ("Owls at night", ["Birds", "Night"])
        assert chat["chat"]["history"]["messages"][begun["message_id"]]["followUps"] == ["Why?", "When?"]
        assert there.asked == ["follow_ups", "title", "tags"]
        renamed, *tagged = await there.events(chat_id, "chat_renamed", "chat_tagged")
        assert renamed["user"] is None, "the server did it"
        # Which model was asked what, and said what, is in the log.
        [task_chat_id] = {renamed["data"]["task_chat_id"]}
        assert {event["data"]["task_chat_id"] for event in tagged} != {task_chat_id}
        task = await there.chat(task_chat_id)
        assert task["chat"]["task"] == {"kind": "title", "chat_id": chat_id, "message_id": begun["message_id"]}
        question, answer = task["chat"]["history"]["messages"].values()
        assert question["content"] == f"{PROMPTS['title']}\n\n<conversation>\nuser: Hello\nassistant: 42\n</conversation>"
        assert (answer["model"], answer["content"]) == (MODEL, ANSWERS["title"])
        listed = (await there.user.get("/api/v1/chats/")).json()
        assert [one["id"] for one in listed] == [chat_id]


async def test_only_the_first_question_names_its_chat(settings: Settings) -> None:
    async with scene(settings) as there:
        chat_id = await there.user.new_chat("New Chat")
        await there.ask(chat_id)
        there.answers["title"] = '{"title": "Another"}'
        there.asked.clear()
        await there.ask(chat_id, content="And bats?")
        assert (await there.chat(chat_id))["title"] == "Owls at night"
        assert there.asked == ["follow_ups", "tags"]


async def test_of_several_answers_the_first_names_the_chat_and_each_is_followed_by_questions(settings: Settings) -> None:
    async with scene(settings) as there:
        chat_id = await there.user.new_chat("New Chat")
        begun = await there.ask(chat_id, message_ids=[{"model_id": MODEL, "message_id": None}] * 2)
        messages = (await there.chat(chat_id))["chat"]["history"]["messages"]
        assert [messages[one]["followUps"] for one in begun["message_ids"]] == [["Why?", "When?"]] * 2
        assert sorted(there.asked) == ["follow_ups", "follow_ups", "tags", "title"]


async def renamed_by_its_user(there: Scene, chat_id: str) -> None:
    assert (await there.user.post(f"/api/v1/chats/{chat_id}", {"chat": {"title": "Mine"}})).status_code == 200


async def renamed_there_and_back(there: Scene, chat_id: str) -> None:
    await renamed_by_its_user(there, chat_id)
    await there.user.post(f"/api/v1/chats/{chat_id}", {"chat": {"title": "New Chat"}})


@pytest.mark.parametrize(("rename", "title"), [(renamed_by_its_user, "Mine"), (renamed_there_and_back, "New Chat")])
async def test_a_title_that_the_user_has_set_meanwhile_stays(settings: Settings, rename: Callable[..., Any], title: str) -> None:
    async with scene(settings) as there:
        chat_id = await there.user.new_chat("New Chat")
        there.hold.clear()
        await there.user.ask(chat_id, MODEL, background_tasks={"title_generation": True})
        await until(lambda: there.asked == ["title"])
        await rename(there, chat_id)
        there.hold.set()
        await there.settled()
        assert (await there.chat(chat_id))["title"] == title


async def test_without_a_task_model_none_is_asked_and_the_question_names_the_chat(settings: Settings) -> None:
    async with scene(settings, task_model=None) as there:
        chat_id = await there.user.new_chat("New Chat")
        await there.ask(chat_id, content="Why do owls\nsee at night?")
        chat = await there.chat(chat_id)
        assert (chat["title"], chat["meta"]["tags"], there.asked) == ("Why do owls see at night?", [], [])
        [renamed] = await there.events(chat_id, "chat_renamed")
        assert "task_chat_id" not in renamed["data"]


async def test_each_task_is_switched_off_by_a_setting_or_by_the_request(settings: Settings) -> None:
    async with scene(settings, task_tags=False) as there:
        chat_id = await there.user.new_chat("New Chat")
        await there.ask(chat_id, background_tasks={**ALL, "follow_up_generation": False, "title_generation": False})
        assert there.asked == []
        assert (await there.chat(chat_id))["title"] == "Hello"
        other = await there.user.new_chat("New Chat")
        for absent in (None, {}, {"title_generation": "yes"}, []):
            await there.ask(other, background_tasks=absent)
        assert there.asked == []
        assert (await there.chat(other))["title"] == "New Chat", "a script's chat keeps its title"


@pytest.mark.parametrize("chat_id", ["local:tab", "temporary:tab", None])
async def test_a_temporary_chat_is_not_worked_on(settings: Settings, chat_id: str | None) -> None:
    async with scene(settings) as there:
        question = {"messages": [{"role": "user", "content": "Hello"}], "session_id": "tab", "background_tasks": ALL}
        assert (await there.user.post("/api/chat/completions", {"model": MODEL, "chat_id": chat_id, **question})).status_code == 200
        await there.settled()
        assert there.asked == []


async def test_answers_of_no_use_are_dropped_and_the_question_names_the_chat(settings: Settings) -> None:
    async with scene(settings) as there:
        there.answers = {"title": "I would love to.\nWhat for?", "tags": "no", "follow_ups": "{"}
        chat_id = await there.user.new_chat("New Chat")
        begun = await there.ask(chat_id)
        chat = await there.chat(chat_id)
        assert (chat["title"], chat["meta"]["tags"]) == ("Hello", [])
        assert "followUps" not in chat["chat"]["history"]["messages"][begun["message_id"]]
        assert there.server.system.background.dropped == 3


async def test_a_task_model_that_is_not_there_is_no_error_of_the_answer(settings: Settings) -> None:
    async with scene(settings, task_model="nowhere") as there:
        chat_id = await there.user.new_chat("New Chat")
        begun = await there.ask(chat_id)
        chat = await there.chat(chat_id)
        assert chat["chat"]["history"]["messages"][begun["message_id"]]["state"] == "done"
        assert there.server.system.background.dropped == 3
        assert chat["title"] == "Hello"


async def test_a_task_model_that_does_not_answer_is_asked_no_more_after_this_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commands.background.work.ANSWER_S", 0.0)
    async with scene(settings) as there:
        there.hold.clear()
        chat_id = await there.user.new_chat("New Chat")
        await there.ask(chat_id)
        chat = await there.chat(chat_id)
        assert (chat["title"], chat["meta"]["tags"], there.server.system.background.dropped) == ("Hello", [], 1)


async def test_a_stopped_answer_leads_to_no_work_and_work_is_no_answer_to_stop(settings: Settings) -> None:
    async with scene(settings) as there:
        chat_id = await there.user.new_chat("New Chat")
        stopped = await there.user.ask(chat_id, "demo:1000", background_tasks=ALL)
        assert (await there.user.post(f"/api/tasks/chat/{chat_id}/stop")).json()["status"] is True
        await there.settled()
        assert there.asked == []
        assert stopped["task_ids"]
        there.hold.clear()
        await there.user.ask(chat_id, MODEL, background_tasks=ALL)
        await until(lambda: there.asked)
        assert (await there.user.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}
        assert (await there.user.post(f"/api/tasks/chat/{chat_id}/stop")).status_code == 200
        assert len(there.server.system.background) == 1
        deleted = await there.user.http.delete(f"/api/v1/chats/{chat_id}")
        assert deleted.status_code == 200, deleted.text
        there.hold.set()
        await there.settled()


async def test_work_takes_none_of_its_users_run_slots(settings: Settings) -> None:
    async with scene(settings, quota_runs=1) as there:
        chat_id = await there.user.new_chat("New Chat")
        there.hold.clear()
        await there.user.ask(chat_id, MODEL, background_tasks=ALL)
        await until(lambda: there.asked)
        await there.user.ask(chat_id, MODEL, content="And bats?", background_tasks={})
        there.hold.set()
        await there.settled()


async def test_a_shutdown_does_not_wait_for_work(settings: Settings) -> None:
    async with scene(settings) as there:
        chat_id = await there.user.new_chat("New Chat")
        there.hold.clear()
        await there.user.ask(chat_id, MODEL, background_tasks=ALL)
        await until(lambda: there.asked)
        await there.server.system.drain()
        assert (len(there.server.system.background), len(there.server.system.runs)) == (0, 0)
        [task] = [stored for stored in await there.server.system.log.read_log(after=0, limit=1000) if stored.type == "interrupted"]
        assert str(task.stream) != f"chat/{chat_id}"
        there.hold.set()


async def test_prompts_can_be_set(settings: Settings) -> None:
    async with scene(settings, task_prompts={"title": PROMPTS["title"] + " {{MESSAGES}} Now!"}) as there:
        chat_id = await there.user.new_chat("New Chat")
        await there.ask(chat_id, background_tasks={"title_generation": True})
        [renamed] = await there.events(chat_id, "chat_renamed")
        task = await there.chat(renamed["data"]["task_chat_id"])
        asked = next(iter(task["chat"]["history"]["messages"].values()))["content"]
        assert asked.endswith("assistant: 42\n</conversation> Now!")


async def test_a_chat_of_another_account_is_worked_on_for_who_may_write_it(settings: Settings) -> None:
    async with scene(settings) as there:
        chat_id = await there.user.new_chat("New Chat")
        friend = await there.server.sign_up("Bob")
        await there.user.post(f"/api/v1/chats/{chat_id}/access", {"user_id": friend.id, "permission": "write"})
        await friend.ask(chat_id, MODEL, background_tasks=ALL)
        await there.settled()
        chat = await there.chat(chat_id)
        assert (chat["title"], chat["meta"]["tags"]) == ("Owls at night", ["Birds", "Night"])
        [renamed] = await there.events(chat_id, "chat_renamed")
        made_in = renamed["data"]["task_chat_id"]
        assert (await friend.get(f"/api/v1/chats/{made_in}")).status_code == 200, "the work is that of who asked"
        assert (await there.user.get(f"/api/v1/chats/{made_in}")).status_code == 200  # the first account is an admin, who reads everything


async def test_a_title_that_was_set_by_hand_is_kept_from_the_server_alone(settings: Settings) -> None:
    async with scene(settings) as there:
        chat_id = UUID(await there.user.new_chat("New Chat"))
        chats = there.server.system.chats
        owner = UUID(there.user.id)
        await chats.handle(RenameChat(chat_id=chat_id, by=owner, title="Mine"))
        await chats.handle(RenameChat(chat_id=chat_id, by=None, title="Ours", unless_renamed=True))
        await chats.handle(RenameChat(chat_id=chat_id, by=owner, title="Mine again"))
        assert [event["data"]["title"] for event in await there.events(str(chat_id), "chat_renamed")] == ["Mine", "Mine again"]


async def test_the_task_model_need_not_be_open_to_who_asks(settings: Settings) -> None:
    async with scene(settings, task_model=MODEL, demo_model=True) as there:
        entry = {"id": MODEL, "name": "For tasks", "base_model_id": None, "access_grants": []}
        assert (await there.user.post("/api/v1/models/create", entry)).status_code == 200
        bob = await there.server.sign_up("Bob")
        chat_id = await bob.new_chat("New Chat")
        refused = await bob.post("/api/chat/completions", {"model": MODEL, "chat_id": chat_id, "messages": [], "session_id": "s"})
        assert refused.json()["code"] == "model_not_found"
        await bob.ask(chat_id, "demo:2", background_tasks=ALL)
        await there.settled()
        assert (await bob.get(f"/api/v1/chats/{chat_id}")).json()["title"] == "Owls at night"
