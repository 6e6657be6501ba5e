"""Turns in saved chats, as a page and as scripts ask for them: what the provider is sent, and what is stored."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from api.settings import Settings
from tests.adapters.providers.scripted import DONE, Server, event, said, serving
from tests.api.completions.test_openai import provider, with_provider
from tests.api.conftest import Running, User, running

pytestmark = pytest.mark.anyio

MODEL = "big/model:7b"
PAGE = {"stream_response": True, "function_calling": "native"}


class There:
    """A signed-in user of a server with one scripted provider, which answers ``42`` to everything."""

    def __init__(self, server: Running, user: User, upstream: Server) -> None:
        self.server, self.user, self.upstream = server, user, upstream

    async def complete(self, **body: Any) -> Any:
        answer = await self.user.post("/api/chat/completions", {"model": MODEL, "stream": False, **body})
        assert answer.status_code == 200, answer.text
        for run in self.server.system.runs.all():
            await run.wait()
        return answer.json()

    async def chat(self, chat: dict[str, Any]) -> str:
        answer = await self.user.post("/api/v1/chats/new", {"chat": chat})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def messages(self, chat_id: str) -> list[dict[str, Any]]:
        chat = (await self.user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]
        return list(chat["history"]["messages"].values())

    @property
    def sent(self) -> Any:
        return self.upstream.asked[-1].json


@pytest.fixture
async def there(settings: Settings) -> AsyncIterator[There]:
    async with serving(provider(said("42", "stop") + DONE)) as upstream:
        own = msgspec.structs.replace(
            with_provider(settings, upstream.url),
            default_params={"temperature": 0.1, "top_p": 0.1, "seed": 1, "system": "Default.", "custom_params": {"a": 1, "b": 1}},
            model_params={MODEL: {"top_p": 0.2, "seed": 2, "max_tokens": 2, "system": "Model.", "custom_params": {"b": '{"x": 2}'}}},
        )
        async with running(own) as server:
            yield There(server, await server.sign_up(), upstream)


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


SYSTEM = {"role": "system", "content": "Model."}


async def test_settings_come_from_the_server_the_model_the_chat_and_the_request(there: There) -> None:
    params = {"seed": 3, "max_tokens": 3, "system": "Chat.", "custom_params": {"c": 3}, "stop": "x, y", **PAGE}
    chat_id = await there.chat({"title": "t", "params": params})
    await there.complete(chat_id=chat_id, session_id="s", messages=[user("Hi")], params={"max_tokens": 4, **PAGE}, frequency_penalty=0.5)
    sent = there.sent
    assert sent.pop("messages") == [{"role": "system", "content": "Model.\n\nChat."}, user("Hi")]
    assert sent == {
        "model": MODEL,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.1,
        "top_p": 0.2,
        "seed": 3,
        "max_tokens": 4,
        "frequency_penalty": 0.5,
        "stop": ["x", "y"],
        "a": 1,
        "b": {"x": 2},
        "c": 3,
    }


async def test_the_system_prompt_of_a_request_counts_above_the_chats_and_stands_once(there: There) -> None:
    chat_id = await there.chat({"title": "t", "params": {"system": "Chat."}})
    messages = [{"role": "system", "content": "Request."}, user("Hi")]
    await there.complete(chat_id=chat_id, session_id="s", messages=messages, params={"system": "Request."})
    assert there.sent["messages"] == [{"role": "system", "content": "Model.\n\nRequest."}, user("Hi")]


async def test_the_prompt_of_the_chats_folder_is_sent_with_its_variables(there: There) -> None:
    outer = (await there.user.post("/api/v1/folders/", {"name": "Outer", "data": {"system_prompt": "Outer."}})).json()["id"]
    inner = {"name": "Inner", "parent_id": outer, "data": {"system_prompt": "For {{USER_NAME}}."}}
    folder_id = (await there.user.post("/api/v1/folders/", inner)).json()["id"]
    chat_id = await there.chat({"title": "t", "params": {"system": "Chat."}})
    assert (await there.user.post(f"/api/v1/chats/{chat_id}/folder", {"folder_id": folder_id})).status_code == 200
    variables = {"{{USER_NAME}}": "Ada"}
    await there.complete(chat_id=chat_id, session_id="s", messages=[user("Hi")], variables=variables, folder_id=folder_id)
    assert there.sent["messages"][0] == {"role": "system", "content": "Model.\n\nFor Ada.\n\nChat."}
    assert "folder_id" not in there.sent
    await there.complete(chat_id=chat_id, messages=[user("Hi")])
    assert there.sent["messages"][0]["content"] == "Model.\n\nFor {{USER_NAME}}.\n\nChat.", "also where the client stores the turn"


async def test_the_prompt_of_a_folder_is_not_sent_where_somebody_else_asks(there: There) -> None:
    folder_id = (await there.user.post("/api/v1/folders/", {"name": "Mine", "data": {"system_prompt": "Private."}})).json()["id"]
    chat_id = await there.chat({"title": "t"})
    await there.user.post(f"/api/v1/chats/{chat_id}/folder", {"folder_id": folder_id})
    friend = await there.server.sign_up("Bob")
    await there.user.post(f"/api/v1/chats/{chat_id}/access", {"user_id": friend.id, "permission": "write"})
    body = {"model": MODEL, "chat_id": chat_id, "session_id": "s", "messages": [user("Hi")]}
    assert (await friend.post("/api/chat/completions", body)).status_code == 200
    for run in there.server.system.runs.all():
        await run.wait()
    assert there.sent["messages"] == [SYSTEM, user("Hi")]


async def test_a_model_is_told_of_the_files_of_a_question(there: There) -> None:
    chat_id = await there.chat({"title": "t"})
    pixel = {"type": "image", "url": "data:image/png;base64,QQ=="}
    files = [{"type": "file", "name": 'a "b".pdf', "size": 7, "file": {"meta": {"content_type": "application/pdf"}}}, pixel]
    asked = {"id": "q1", "parentId": None, "role": "user", "content": "See", "files": files}
    await there.complete(chat_id=chat_id, session_id="s", user_message=asked, parent_id=None)
    told = (
        '<attached_files>\n<file type="file" name="a &quot;b&quot;.pdf" content_type="application/pdf" size_bytes="7"/>\n'
        "</attached_files>\n\nSee"
    )
    said_first = [{"type": "text", "text": told}, {"type": "image_url", "image_url": {"url": pixel["url"]}}]
    assert there.sent["messages"][1:] == [user(said_first)]  # type: ignore[arg-type]
    await there.complete(chat_id=chat_id, session_id="s", messages=[user("And?")])
    assert there.sent["messages"][1:] == [user(said_first), assistant("42"), user("And?")]  # type: ignore[arg-type]


async def test_a_first_question_that_was_edited_is_another_beginning_of_the_chat(there: There) -> None:
    """As the page sends it: the whole question, which is below nothing."""
    chat_id = await there.chat({"title": "t"})
    for question_id, text in (("q1", "One"), ("q2", "Two")):
        asked = {"id": question_id, "parentId": None, "role": "user", "content": text}
        await there.complete(chat_id=chat_id, session_id="s", user_message=asked, parent_id=None)
    assert there.sent["messages"] == [SYSTEM, user("Two")]
    beginnings = [message["content"] for message in await there.messages(chat_id) if message["parentId"] is None]
    assert beginnings == ["One", "Two"]


async def test_a_new_question_alone_is_sent_with_the_stored_branch_above_it(there: There) -> None:
    chat_id = await there.chat({"title": "t"})
    first = await there.complete(chat_id=chat_id, session_id="s", messages=[user("One")])
    await there.complete(chat_id=chat_id, session_id="s", messages=[user("Two")])
    assert there.sent["messages"] == [SYSTEM, user("One"), assistant("42"), user("Two")]
    await there.complete(chat_id=chat_id, session_id="s", parent_id=first["message_id"], messages=[user("Instead")])
    assert there.sent["messages"] == [SYSTEM, user("One"), assistant("42"), user("Instead")]


async def test_a_question_that_is_stored_already_is_sent_once(there: There) -> None:
    chat_id = await there.chat({"title": "t"})
    first = await there.complete(chat_id=chat_id, session_id="s", messages=[user("One")])
    asked = await there.user.add(chat_id, "Two", parent_id=first["message_id"])
    await there.complete(chat_id=chat_id, session_id="s", parent_id=asked["message_id"], messages=[user("Two")])
    assert there.sent["messages"] == [SYSTEM, user("One"), assistant("42"), user("Two")]
    await there.complete(chat_id=chat_id, session_id="s", parent_id=asked["message_id"])
    assert there.sent["messages"] == [SYSTEM, user("One"), assistant("42"), user("Two")]


async def test_a_history_that_the_caller_sends_is_what_the_model_is_sent(there: There) -> None:
    chat_id = await there.chat({"title": "t"})
    await there.complete(chat_id=chat_id, session_id="s", messages=[user("One")])
    own = [user("Other"), {**assistant("words"), "id": "a", "timestamp": 7, "usage": {}}, assistant(""), user("Two")]
    await there.complete(chat_id=chat_id, session_id="s", messages=own)
    assert there.sent["messages"] == [SYSTEM, user("Other"), assistant("words"), user("Two")]


@pytest.mark.parametrize("absent", [{}, {"parent_message": {}}, {"user_message": None}, {"parent_message": {}, "user_message": None}])
async def test_a_message_that_is_null_or_empty_is_absent(there: There, absent: dict[str, Any]) -> None:
    chat_id = await there.chat({"title": "t"})
    await there.complete(chat_id=chat_id, session_id="s", messages=[user("Hi")], **absent)
    assert [message["content"] for message in await there.messages(chat_id)] == ["Hi", "42"]


async def test_a_client_that_names_the_chat_alone_stores_the_turn_itself(there: There) -> None:
    chat_id = await there.chat({"title": "t", "params": {"seed": 3}})
    answer = await there.complete(chat_id=chat_id, messages=[user("One")])
    said_by_model = answer["choices"][0]["message"]["content"]
    assert (said_by_model, there.sent["seed"], await there.messages(chat_id)) == ("42", 3, [])
    question, reply = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
    history = {
        "currentId": reply,
        "messages": {
            question: {"id": question, "parentId": None, "childrenIds": [reply], **user("One")},
            reply: {"id": reply, "parentId": question, "childrenIds": [], **assistant(said_by_model)},
        },
    }
    saved = await there.user.post(f"/api/v1/chats/{chat_id}", {"chat": {"history": history}})
    assert saved.status_code == 200, saved.text
    assert [message["content"] for message in await there.messages(chat_id)] == ["One", "42"]
    await there.complete(chat_id=chat_id, messages=[user("Two")])
    assert there.sent["messages"] == [SYSTEM, user("One"), assistant("42"), user("Two")]
    assert len(await there.messages(chat_id)) == 2


async def test_a_stranger_gets_nothing_of_a_chat_that_is_named_alone(there: There) -> None:
    chat_id = await there.chat({"title": "t"})
    stranger = await there.server.sign_up("Bob")
    body = {"model": MODEL, "chat_id": chat_id, "messages": [user("Hi")]}
    assert (await stranger.post("/api/chat/completions", body)).status_code == 401
    assert all(asked.path.endswith("/models") for asked in there.upstream.asked)


async def test_a_failed_answer_without_text_is_not_sent_again(settings: Settings) -> None:
    async with (
        serving(provider(event({"error": "boom"}))) as upstream,
        running(with_provider(settings, upstream.url)) as server,
    ):
        there = There(server, await server.sign_up(), upstream)
        chat_id = await there.chat({"title": "t"})
        for content in ("One", "Two"):
            await there.complete(chat_id=chat_id, session_id="s", messages=[user(content)])
        assert there.sent["messages"] == [user("One"), user("Two")]


async def test_metadata_reaches_the_provider(there: There) -> None:
    await there.complete(messages=[user("Hi")], metadata={"a": "b"}, service_tier="flex", never_heard_of=[1])
    assert (there.sent["metadata"], there.sent["service_tier"], there.sent["never_heard_of"]) == ({"a": "b"}, "flex", [1])
