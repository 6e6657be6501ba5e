"""An answer that a client has stored without text, and asks for by its id: the generation begins in that message."""

from typing import Any
from uuid import uuid4

import pytest

from tests.api.conftest import Running, User, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def saved(user: User, content: Any = "", **answer: Any) -> tuple[str, str, str]:
    """A chat with a question and an answer as a script saves it: ``(chat, question, answer)``."""
    question_id, answer_id = str(uuid4()), str(uuid4())
    messages = {
        question_id: {"id": question_id, "parentId": None, "childrenIds": [answer_id], "role": "user", "content": "Hello"},
        answer_id: {
            "id": answer_id,
            "parentId": question_id,
            "childrenIds": [],
            "role": "assistant",
            "content": content,
            "done": True,
            "model": "demo:3",
            "modelIdx": 0,
            "usage": {"claimed": 1},
            **answer,
        },
    }
    made = await user.post("/api/v1/chats/new", {"chat": {"title": "t", "history": {"messages": messages, "currentId": answer_id}}})
    assert made.status_code == 200, made.text
    return made.json()["id"], question_id, answer_id


async def ask(user: User, chat_id: str, message_id: str, **more: Any) -> Any:
    body = {"model": "demo:3", "chat_id": chat_id, "id": message_id, "messages": [{"role": "user", "content": "Hello"}], **more}
    return await user.post("/api/chat/completions", body)


async def messages_of(user: User, chat_id: str) -> dict[str, Any]:
    return dict((await user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"])


async def test_the_answer_stands_where_the_client_had_put_it(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, question_id, answer_id = await saved(ada)
    before = (await messages_of(ada, chat_id))[answer_id]
    assert (before["content"], before["added_by"]["id"]) == ("", ada.id)
    answered = await ask(ada, chat_id, answer_id)
    assert answered.status_code == 200, answered.text
    text = answered.json()["choices"][0]["message"]["content"]
    messages = await messages_of(ada, chat_id)
    assert list(messages) == [question_id, answer_id], "no sibling, and the question is not asked again"
    now = messages[answer_id]
    assert (now["content"], now["state"], now["parentId"], now["modelIdx"]) == (text, "done", question_id, 0)
    assert text
    assert "added_by" not in now, "a model says this"
    assert "claimed" not in now["usage"], "what the placeholder said of a generation is gone"
    page = (await ada.get(f"/api/v1/streams/chat/{chat_id}/events", types="message_added,message_start,message_end")).json()
    events = page["events"]
    kinds = [(one["data"]["type"], one["data"]["data"].get("fills")) for one in events if one["message_id"] == answer_id]
    assert kinds == [("message_added", None), ("message_start", True), ("message_end", None)]
    past = (await ada.get(f"/api/v1/chats/{chat_id}", at=f"{page['epoch']}:{events[1]['version']}")).json()["chat"]["history"]["messages"]
    assert past[answer_id]["added_by"]["id"] == ada.id


async def test_it_is_streamed_and_told_of_as_every_answer(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, _, answer_id = await saved(ada)
    streamed = await ask(ada, chat_id, answer_id, stream=True)
    assert streamed.text.rstrip().endswith("data: [DONE]")
    chat_id, question_id, answer_id = await saved(ada)
    begun = (await ask(ada, chat_id, answer_id, session_id="tab", user_message={"id": question_id, "content": "Hello"})).json()
    assert (begun["chat_id"], begun["message_id"]) == (chat_id, answer_id)
    page = await ada.get(f"/api/v1/streams/chat/{chat_id}/events", after="start", types="message_end", live="long-poll")
    assert [one["message_id"] for one in page.json()["events"]] == [answer_id]
    events = (await ada.get(f"/api/v1/streams/chat/{chat_id}/events", types="message_start")).json()["events"]
    assert begun["version"] == events[0]["version"] - 1


async def test_a_repeat_with_the_same_key_is_the_same_answer(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, _, answer_id = await saved(ada)
    body = {"model": "demo:3", "chat_id": chat_id, "id": answer_id, "session_id": "tab", "messages": [{"role": "user", "content": "Hello"}]}
    first, second = [(await ada.post("/api/chat/completions", body, **{"Idempotency-Key": "k"})).json() for _ in range(2)]
    assert first == second


async def test_a_message_is_filled_once_and_only_where_there_is_nothing(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, question_id, answer_id = await saved(ada)
    assert (await ask(ada, chat_id, answer_id)).status_code == 200
    other_chat_id, _, other_id = await saved(ada, "I said so")
    edited_chat_id, _, edited_id = await saved(ada, "I said so")
    assert (await ada.post(f"/api/v1/chats/{edited_chat_id}/messages/{edited_id}", {"content": "So I did"})).status_code == 200
    files_chat_id, _, files_id = await saved(ada, files=[{"type": "image", "url": "https://example.org/a.png"}])
    for of, one in [
        (chat_id, answer_id),
        (chat_id, question_id),
        (other_chat_id, other_id),
        (edited_chat_id, edited_id),
        (files_chat_id, files_id),
    ]:
        head = (await ada.get(f"/api/v1/chats/{of}")).json()["version"]
        refused = await ask(ada, of, one)
        assert (refused.status_code, refused.json()["code"]) == (409, "message_exists"), refused.text
        assert (await ada.get(f"/api/v1/chats/{of}")).json()["version"] == head


async def test_it_keeps_its_place_or_is_refused(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, _, answer_id = await saved(ada)
    elsewhere = (await ada.add(chat_id, "another question"))["message_id"]
    refused = await ask(ada, chat_id, answer_id, parent_id=elsewhere)
    assert (refused.status_code, refused.json()["code"]) == (409, "message_exists")
    assert (await ask(ada, chat_id, answer_id)).status_code == 200


async def test_several_that_answer_one_question_are_filled_at_once(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, question_id, answer_id = await saved(ada)
    added = await ada.post(f"/api/v1/chats/{chat_id}/messages", {"role": "assistant", "content": "", "parent_id": question_id})
    ids = [answer_id, str(added.json()["message_id"])]
    both = [{"model_id": "demo:3", "message_id": one} for one in ids]
    answered = await ask(ada, chat_id, answer_id, message_ids=both)
    assert answered.status_code == 200, answered.text
    messages = await messages_of(ada, chat_id)
    assert [bool(messages[one]["content"]) for one in ids] == [True, True]
    assert messages[question_id]["childrenIds"] == ids


async def test_a_copy_that_is_saved_later_takes_nothing_from_it(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, _, answer_id = await saved(ada)
    old = (await ada.get(f"/api/v1/chats/{chat_id}")).json()
    text = (await ask(ada, chat_id, answer_id)).json()["choices"][0]["message"]["content"]
    for body in ({"chat": old["chat"]}, {"chat": old["chat"], "version": old["version"]}):
        kept = await ada.post(f"/api/v1/chats/{chat_id}", body)
        assert kept.status_code == 200, kept.text
        assert (await messages_of(ada, chat_id))[answer_id]["content"] == text
    copied = (await ada.post(f"/api/v1/chats/{chat_id}/clone", {})).json()
    (answer,) = [one for one in (await messages_of(ada, copied["id"])).values() if one["role"] == "assistant"]
    assert answer["content"] == text
    assert "added_by" not in answer


async def test_it_is_found_by_what_the_model_said_and_counted_once(server: Running) -> None:
    ada = await server.sign_up()
    chat_id, _, answer_id = await saved(ada)
    text = (await ask(ada, chat_id, answer_id)).json()["choices"][0]["message"]["content"]
    word = max(text.replace(".", " ").split(), key=len)
    events = (await ada.get(f"/api/v1/streams/chat/{chat_id}/events", types="message_end")).json()["events"]
    position = events[-1]["position"]
    found = (await ada.get("/api/v1/chats/search", text=word, at_least=position)).json()
    assert [one["id"] for one in found] == [chat_id]
    (counted,) = (await ada.get("/api/v1/chats/stats/usage")).json()["items"]
    assert counted["history_message_count"] == 2
