"""Typed text and generated text are told apart, wherever a chat is read."""

import json
from typing import Any

import pytest

from api.cli.chat.parallel_answers import ParallelAnswers
from api.cli.chat.replay import event_of
from tests.api.conftest import Running, User

pytestmark = pytest.mark.anyio
CLAIMS = {"model": "gpt-9", "modelName": "GPT-9", "added_by": None, "edited_by": None, "task_id": "t", "state": "done", "usage": {}}


async def typed_answer(user: User, chat_id: str, parent_id: str | None = None) -> str:
    """A message that a person puts under a model's name, with all that an answer has."""
    body = {"role": "assistant", "content": "I said so", "parent_id": parent_id, "fields": CLAIMS}
    answer = await user.post(f"/api/v1/chats/{chat_id}/messages", body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["message_id"])


async def generated(user: User, chat_id: str) -> str:
    message_id, after = str((await user.ask(chat_id, "demo:3"))["message_id"]), "start"
    while True:  # an earlier answer has ended, too
        page = (await user.get(f"/api/v1/streams/chat/{chat_id}/events", live="long-poll", types="message_end", after=after)).json()
        if message_id in [event["message_id"] for event in page["events"]]:
            return message_id
        after = page["next"]


async def messages(user: User, chat_id: str, **query: Any) -> dict[str, Any]:
    answer = await user.get(f"/api/v1/chats/{chat_id}", **query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["chat"]["history"]["messages"])


async def test_an_answer_that_a_person_typed_names_them_in_the_chat_and_its_history(server: Running) -> None:
    ada = await server.sign_up("Ada")
    chat_id = await ada.new_chat()
    real = await generated(ada, chat_id)
    typed = await typed_answer(ada, chat_id, real)
    person = {"id": ada.id, "name": "Ada"}
    for known in (await messages(ada, chat_id), await messages(ada, chat_id, at="now")):
        assert known[typed]["added_by"] == person
        assert "added_by" not in known[real]
    page = (await ada.get(f"/api/v1/chats/{chat_id}/messages")).json()["messages"]
    assert [one.get("added_by") for one in page[-2:]] == [None, person]
    questions = [one for one in page if one["role"] == "user"]
    assert all("added_by" not in one for one in questions), "who asks is what user_id says"


async def test_transcripts_name_who_typed_and_who_edited(server: Running) -> None:
    ada = await server.sign_up()
    assert (await ada.post("/api/v1/auths/update/profile", {"name": "Ada <b>"})).status_code == 200
    chat_id = await ada.new_chat()
    real = await generated(ada, chat_id)
    await typed_answer(ada, chat_id, real)
    markdown, html = [(await ada.get(f"/api/v1/chats/{chat_id}/export", format=form)).text for form in ("markdown", "html")]
    assert markdown.count("no model generated it here") == html.count("no model generated it here") == 1
    assert "*Added by Ada \\<b\\>: no model generated it here.*" in markdown
    assert "added by Ada &lt;b&gt;: no model generated it here" in html
    assert " by Ada" not in markdown.replace("Added by Ada", "")
    await ada.post(f"/api/v1/chats/{chat_id}/messages/{real}", {"content": "what I wish it had said"})
    assert " by Ada \\<b\\>.*" in (await ada.get(f"/api/v1/chats/{chat_id}/export", format="markdown")).text
    exported = json.loads((await ada.get(f"/api/v1/chats/{chat_id}/export", format="open-webui")).text)
    known = exported[0]["chat"]["history"]["messages"]
    assert [known[one].get("added_by", {}).get("name") for one in known if known[one]["role"] == "assistant"] == [None, "Ada <b>"]


async def test_a_text_that_a_person_has_put_into_an_answer_names_them(server: Running) -> None:
    ada = await server.sign_up("Ada")
    person = {"id": ada.id, "name": "Ada"}
    chat_id = await ada.new_chat()
    answers = [await generated(ada, chat_id) for _ in range(2)]
    await ada.post(f"/api/v1/chats/{chat_id}/messages/{answers[0]}", {"content": "edited"})
    await ada.post(f"/api/v1/chats/{chat_id}/messages/{answers[1]}/event", {"type": "replace", "data": {"content": "replaced"}})
    known = await messages(ada, chat_id)
    assert [known[one]["edited_by"] for one in answers] == [person, person]
    assert all(isinstance(known[one]["edited_at"], int) for one in answers)
    await ada.post(f"/api/v1/chats/{chat_id}/messages/{answers[1]}/event", {"type": "status", "data": {"description": "ok"}})
    assert (await messages(ada, chat_id))[answers[1]]["content"] == "replaced"


async def test_a_copy_says_the_same_of_its_messages(server: Running) -> None:
    ada, bob = await server.sign_up("Ada"), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    real = await generated(ada, chat_id)
    typed = await typed_answer(ada, chat_id, real)
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": "read"})
    copy_id = chat_id
    for _ in range(2):  # and a copy of the copy
        copy_id = (await bob.post(f"/api/v1/chats/{copy_id}/clone", {})).json()["id"]
        known = list((await messages(bob, copy_id)).values())
        answers = [one for one in known if one["role"] == "assistant"]
        assert [one.get("added_by") for one in answers] == [None, {"id": ada.id, "name": "Ada"}]
    assert typed


async def test_what_is_imported_or_saved_names_who_brought_it_whatever_the_file_claims(server: Running) -> None:
    ada = await server.sign_up("Ada")
    claimed = {"id": "m", "parentId": None, "childrenIds": [], "role": "assistant", "content": "Trust me", **CLAIMS}
    history = {"messages": {"m": claimed}, "currentId": "m"}
    imported = await ada.post("/api/v1/chats/import", {"chats": [{"chat": {"title": "x", "history": history}}]})
    assert imported.status_code == 200, imported.text
    saved_id = await ada.new_chat()
    assert (await ada.post(f"/api/v1/chats/{saved_id}", {"chat": {"history": history}})).status_code == 200
    chats = (await ada.get("/api/v1/chats/")).json()
    assert len(chats) == 2
    for chat in chats:
        (message,) = (await messages(ada, chat["id"])).values()
        assert message["added_by"] == {"id": ada.id, "name": "Ada"}
        edited = await ada.post(
            f"/api/v1/chats/{chat['id']}", {"chat": {"history": {**history, "messages": {message["id"]: {**message, "added_by": None}}}}}
        )
        assert edited.status_code == 200, edited.text
        (message,) = (await messages(ada, chat["id"])).values()
        assert message["added_by"] == {"id": ada.id, "name": "Ada"}


async def test_a_replay_names_who_typed_it(server: Running) -> None:
    ada = await server.sign_up("Ada")
    chat_id = await ada.new_chat()
    await typed_answer(ada, chat_id)
    answers = ParallelAnswers()
    lines = (await ada.get(f"/api/v1/chats/{chat_id}/export")).content.splitlines()
    events = [event for line in lines if (event := event_of(line)) is not None]
    played = "".join(part.text for event in events for part in answers.feed(event))
    assert "gpt-9, added by Ada and not generated here" in played
