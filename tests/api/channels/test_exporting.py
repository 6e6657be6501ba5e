"""A channel as a file: what it holds, and that it plays back."""

import json
from pathlib import Path

import pytest

from api.cli.chat.parallel_answers import ParallelAnswers
from api.cli.chat.replay import of_file
from tests.api.channels.test_channels import BASE, made, said
from tests.api.channels.test_messages import answered, contents, page
from tests.api.conftest import Running, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def test_a_channel_is_a_file_of_all_its_events_and_plays_back(server: Running, tmp_path: Path) -> None:
    ada, ben = await server.sign_up("Ada"), await server.sign_up("Ben")
    channel_id = await made(ada, ben)
    first = await said(ada, channel_id, "Hello <@U:x|Ben>")
    asked = await said(ben, channel_id, "<@M:demo:3> and you?", parent_id=first["id"])
    answer = await answered(ada, channel_id, asked["answers"][0]["message_id"])
    await ada.post(f"{BASE}/{channel_id}/messages/{first['id']}/update", {"content": "Hello again"})
    await ben.post(f"{BASE}/{channel_id}/messages/{first['id']}/reactions/add", {"name": "+1"})
    exported = await ben.get(f"{BASE}/{channel_id}/export")
    assert exported.headers["content-type"].startswith("application/x-ndjson")
    assert 'filename="Friends.jsonl"' in exported.headers["content-disposition"]
    lines = exported.text.splitlines()
    assert [json.loads(one)["version"] for one in lines] == [*range(1, len(lines) + 1)]
    epoch = exported.headers["x-cursor"].rpartition(":")[0]
    rest = await ben.get(f"{BASE}/{channel_id}/export", after=f"{epoch}:3", at=str(len(lines) - 1))
    assert rest.text.splitlines() == lines[3:-1]
    file = tmp_path / "channel.jsonl"
    file.write_text(exported.text)
    answers = ParallelAnswers()
    shown = "".join([part.text async for event in of_file(file, None) for part in answers.feed(event)])
    assert "Ada: Hello @x" not in shown
    assert "── Ada: Hello @Ben" in shown
    assert "Ben, to Ada's message" in shown
    assert answer["content"] in shown
    assert "Ada edited Ada's message" in shown
    assert "reacted to Ada's message" in shown
    outsider = await server.sign_up("Cat")
    assert (await outsider.get(f"{BASE}/{channel_id}/export")).status_code == 403


async def test_a_transcript_is_for_reading_and_runs_nothing(server: Running) -> None:
    ada = await server.sign_up("Ada")
    channel_id = await made(ada, name="Plans & more")
    root = await said(ada, channel_id, "<script>alert(1)</script> **bold**")
    await said(ada, channel_id, "a reply", parent_id=root["id"])
    gone = await said(ada, channel_id, "gone")
    await ada.http.delete(f"{BASE}/{channel_id}/messages/{gone['id']}/delete")
    markdown = (await ada.get(f"{BASE}/{channel_id}/export", format="markdown")).text
    assert markdown.startswith("# Plans")
    assert markdown.index("alert(1)") < markdown.index("a reply")
    assert f"*Answers message `{root['id']}`.*" in markdown
    assert "gone" not in markdown
    html = await ada.get(f"{BASE}/{channel_id}/export", format="html")
    assert "<script>" not in html.text
    assert "<strong>bold</strong>" in html.text
    assert "sandbox" in html.headers["content-security-policy"]
    was = (await ada.get(f"{BASE}/{channel_id}/export", format="markdown", at=str(gone["version"]))).text
    assert "gone" in was
    assert (await ada.get(f"{BASE}/{channel_id}/export", format="html", after="x:1")).status_code == 400


async def test_reads_are_as_of_a_version_a_cursor_or_a_time(server: Running) -> None:
    ada = await server.sign_up("Ada")
    channel_id = await made(ada)
    first = await said(ada, channel_id, "first")
    path = f"{BASE}/{channel_id}/messages"
    pinned = (await ada.post(f"{path}/{first['id']}/pin", {"is_pinned": True})).json()
    await ada.post(f"{path}/{first['id']}/update", {"content": "changed"})
    await ada.post(f"{path}/{first['id']}/pin", {"is_pinned": False})
    reply = await said(ada, channel_id, "reply", parent_id=first["id"])
    await ada.http.delete(f"{path}/{reply['id']}/delete")
    cursor = (await ada.get(f"{BASE}/{channel_id}/export")).headers["x-cursor"].rpartition(":")[0]
    for at in (str(pinned["version"]), f"{cursor}:{pinned['version']}"):
        assert contents(await page(ada, channel_id, at=at)) == ["first"]
        assert (await ada.get(f"{path}/{first['id']}", at=at)).json()["content"] == "first"
        assert contents((await ada.get(f"{path}/pinned", at=at)).json()) == ["first"]
    assert (await ada.get(f"{path}/pinned")).json() == []
    thread = f"{path}/{first['id']}/thread"
    assert contents((await ada.get(thread, at=str(reply["version"]))).json()) == ["reply", "changed"]
    assert contents((await ada.get(thread)).json()) == ["changed"]
    assert contents(await page(ada, channel_id, at="2100-01-01")) == ["changed"]
    assert (await ada.get(f"{path}/", at="2001-01-01")).status_code == 404
    assert (await ada.get(f"{path}/", at="whenever")).status_code == 400


async def test_who_comes_later_reads_no_words_that_were_gone_by_then(server: Running) -> None:
    """By no question about the past, and in no file."""
    ada, ben, cat = await server.sign_up("Ada"), await server.sign_up("Ben"), await server.sign_up("Cat")
    channel_id = await made(ada, ben)
    path = f"{BASE}/{channel_id}/messages"
    edited, deleted = await said(ada, channel_id, "secret one"), await said(ada, channel_id, "secret two")
    reply = await said(ben, channel_id, "secret three", parent_id=edited["id"])
    for one in (edited, reply):
        await ada.post(f"{path}/{edited['id']}/pin", {"is_pinned": True})
        await (ada if one is edited else ben).post(f"{path}/{one['id']}/update", {"content": "said better"})
    await ada.http.delete(f"{path}/{deleted['id']}/delete")
    assert (await ada.post(f"{BASE}/{channel_id}/update/members/add", {"user_ids": [cat.id]})).status_code == 200
    later = await said(ada, channel_id, "for all of us")
    at = str(reply["version"])
    seen = [
        (await cat.get(f"{path}/", at=at)).text,
        (await cat.get(f"{path}/pinned", at=at)).text,
        (await cat.get(f"{path}/{edited['id']}", at=at)).text,
        (await cat.get(f"{path}/{edited['id']}/thread", at=at)).text,
        *[(await cat.get(f"{BASE}/{channel_id}/export", format=form, at=at)).text for form in ("jsonl", "markdown", "html")],
        (await cat.get(f"{BASE}/{channel_id}/export")).text,
    ]
    assert [text for text in seen if "secret" in text] == []
    assert "said better" in seen[0]
    assert later["content"] not in seen[0]
    assert (await cat.get(f"{path}/{later['id']}", at=at)).status_code == 404
    assert "secret one" in (await ada.get(f"{path}/", at=at)).text  # who was there reads it as it was
    assert "secret two" in (await ben.get(f"{BASE}/{channel_id}/export", at=at)).text
