"""Exports over HTTP: lines, transcripts and Open WebUI's JSON, and what somebody may have written into them."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from api.formats.html import piece
from commands.transfer.export import PAGE_EVENTS
from domain.errors import LogUnavailable
from tests.api.conftest import Running, User

pytestmark = pytest.mark.anyio

NASTY = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt&colon;alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "![x](https://example.org/pixel.png)",
    '![x](https://example.org/"onload="alert(1))',
    "<svg/onload=alert(1)>",
    "```html\n</code></pre><script>alert(1)</script>\n```",
    "`<b onclick=alert(1)>`",
    "<https://example.org/'onmouseover='alert(1)>",
    "| a | b |\n|---|---|\n| <iframe src=//x> | </td><script>1</script> |",
    "</div></article></main><script>alert(1)</script>",
    "<!-- --><style>*{display:none}</style>",
    "[ref]: javascript:alert(1)\n\n[ref]",
    "</title><script>alert(1)</script>",
]


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def harmless(text: str) -> None:
    for tag, attributes in Page(text).tags:
        assert tag not in {"script", "iframe", "object", "embed", "link", "base", "form", "svg", "math", "input", "button"}
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name == "href":
                assert re.match(r"(https?:|mailto:|#)", value or ""), value
            if name == "src":
                assert (value or "").startswith("data:image/"), value


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("kind", ["text", "reasoning", "tool_call", "image", "other"])
def test_nothing_that_was_written_becomes_more_than_text(kind: str, text: str) -> None:
    harmless(piece(kind, text, text))


def test_a_picture_that_the_page_holds_is_shown_and_one_from_elsewhere_is_a_link() -> None:
    assert Page(piece("image", "data:image/png;base64,aGVsbG8=", "")).tags[-1][0] == "img"
    assert Page(piece("image", "https://example.org/a.png", "")).tags[-1] == (
        "a",
        {"href": "https://example.org/a.png", "rel": "noopener noreferrer nofollow"},
    )
    assert "img" not in piece("image", 'data:image/png;base64,aGVsbG8=" onerror="alert(1)', "")
    assert "img" not in piece("image", "data:image/svg+xml;base64,aGVsbG8=", "")


async def export(user: User, chat_id: str, **params: Any) -> str:
    answer = await user.get(f"/api/v1/chats/{chat_id}/export", **params)
    assert answer.status_code == 200, answer.text
    return answer.text


async def talked(server: Running, user: User) -> tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A chat with a question, two answers side by side, one of them edited, and a deleted message."""
    chat_id = await user.new_chat("A <b>title</b>")
    first = await user.add(chat_id, "\n\n".join(NASTY))
    body = {
        "role": "assistant",
        "content": "One **answer**",
        "parent_id": first["message_id"],
        "fields": {"model": "demo", "files": [{"name": "a<b>.txt"}]},
    }
    one = (await user.post(f"/api/v1/chats/{chat_id}/messages", body)).json()
    two = (await user.post(f"/api/v1/chats/{chat_id}/messages", {**body, "content": "Another answer"})).json()
    await user.post(f"/api/v1/chats/{chat_id}/messages/{two['message_id']}", {"content": "Another answer, mended"})
    await user.post(f"/api/v1/chats/{chat_id}/messages/{two['message_id']}/rating", {"rating": 1, "comment": "<i>good</i>"})
    return chat_id, first, one, two


async def test_a_page_without_scripts_on_which_everything_is_escaped(server: Running) -> None:
    user = await server.sign_up("<u>Ada</u>")
    chat_id, *_ = await talked(server, user)
    answer = await user.get(f"/api/v1/chats/{chat_id}/export", format="html")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert (
        answer.headers["content-disposition"].startswith('attachment; filename="A _b_title_b_.html"')
        or "attachment" in answer.headers["content-disposition"]
    )
    harmless(answer.text)
    page = Page(answer.text)
    for said in (
        "A <b>title</b>",
        "<u>Ada</u>",
        "edited",
        "Another answer, mended",
        "version 2 of 2",
        "Attached: a<b>.txt",
        "Rated +1: <i>good</i>",
    ):
        assert said in page.text
    assert "One" not in page.text  # it stands on another branch
    assert "1 more on other branches" in page.text


async def test_all_branches_on_request(server: Running) -> None:
    user = await server.sign_up()
    chat_id, first, one, _ = await talked(server, user)
    text = await export(user, chat_id, format="markdown", branch="all")
    assert text.index("One **answer**") < text.index("Another answer, mended")
    assert f"*Answers message `{first['message_id']}`.*" in text
    alone = await export(user, chat_id, format="markdown", branch=one["message_id"])
    assert "One **answer**" in alone
    assert "Another answer" not in alone


async def test_as_it_was_then(server: Running) -> None:
    user = await server.sign_up()
    chat_id, _, _, two = await talked(server, user)
    text = await export(user, chat_id, format="markdown", at=f"{server.epoch}:{two['version']}")
    assert "Another answer" in text
    assert "mended" not in text
    lines = (await export(user, chat_id, at=f"{server.epoch}:{two['version']}")).splitlines()
    assert [json.loads(line)["version"] for line in lines] == list(range(1, two["version"] + 1))


async def test_an_answer_without_an_end_says_so(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    begun = await user.ask(chat_id, "demo:5000")
    wire = await server.connect(user)
    await wire.say(op="subscribe", id=1, stream=f"chat/{chat_id}", after="start")
    await wire.event(f"chat/{chat_id}", "message_delta")
    assert "still being written" in await export(user, chat_id, format="markdown")
    assert (await user.post(f"/api/tasks/stop/{begun['task_id']}")).status_code == 200
    await wire.event(f"chat/{chat_id}", "cancelled")
    for format_ in ("markdown", "html"):
        text = await export(user, chat_id, format=format_)
        assert "stopped before its end" in text
    assert "demo" in text


async def test_open_webui_gets_a_list_of_one_chat_with_its_tree(server: Running) -> None:
    user = await server.sign_up()
    chat_id, first, one, two = await talked(server, user)
    [chat] = json.loads(await export(user, chat_id, format="open-webui"))
    shown = (await user.get(f"/api/v1/chats/{chat_id}")).json()
    assert (chat["id"], chat["title"], chat["created_at"], chat["pinned"]) == (chat_id, "A <b>title</b>", shown["created_at"], False)
    messages = chat["chat"]["history"]["messages"]
    assert messages == shown["chat"]["history"]["messages"]
    assert chat["chat"]["history"]["currentId"] == two["message_id"]
    assert [message["id"] for message in chat["chat"]["messages"]] == [first["message_id"], two["message_id"]]
    assert messages[first["message_id"]]["childrenIds"] == [one["message_id"], two["message_id"]]
    assert all(message["done"] for message in messages.values())
    assert chat["chat"]["models"] == ["demo"]


async def test_a_download_that_was_cut_goes_on_after_its_last_line(server: Running) -> None:
    user = await server.sign_up()
    chat_id, *_ = await talked(server, user)
    whole = await user.get(f"/api/v1/chats/{chat_id}/export")
    lines = whole.text.splitlines(keepends=True)
    assert whole.headers["x-cursor"] == f"{server.epoch}:{len(lines)}"
    rest = await export(user, chat_id, after=f"{server.epoch}:3", at=whole.headers["x-cursor"])
    assert rest == "".join(lines[3:])


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"format": "pdf"}, 400, None),
        ({"format": "html", "after": "start"}, 400, "bad_request"),
        ({"branch": "all"}, 400, "bad_request"),
        ({"format": "html", "branch": "00000000-0000-4000-8000-000000000000"}, 404, "message_not_found"),
        ({"at": "1999-01-01T00:00:00Z"}, 404, "before_first_event"),
        ({"after": "nonsense"}, 400, "bad_cursor"),
        ({"at": "01900000-0000-7000-8000-00000000000a:1"}, 410, "cursor_gone"),
    ],
)
async def test_what_cannot_be_exported_is_said_before_anything_is_sent(
    server: Running, params: dict[str, str], status: int, code: str | None
) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    answer = await user.get(f"/api/v1/chats/{chat_id}/export", **params)
    assert answer.status_code == status, answer.text
    assert code is None or answer.json()["code"] == code


async def test_somebody_elses_chat_looks_like_none(server: Running) -> None:
    await server.sign_up("Admin")
    ada, bob = await server.sign_up("Ada"), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    for format_ in ("jsonl", "markdown", "html", "open-webui"):
        refused = await bob.get(f"/api/v1/chats/{chat_id}/export", format=format_)
        absent = await bob.get("/api/v1/chats/00000000-0000-4000-8000-000000000000/export", format=format_)
        assert (refused.status_code, refused.json()["code"]) == (absent.status_code, absent.json()["code"]) == (401, "chat_not_found")


async def test_an_export_that_fails_in_the_middle_has_no_clean_end(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    for number in range(PAGE_EVENTS + 1):
        await user.add(chat_id, str(number))
    read = server.system.log.read

    async def away(*words: Any, **options: Any) -> Any:
        if options.get("after", 0) >= PAGE_EVENTS:
            raise LogUnavailable("away")
        return await read(*words, **options)

    monkeypatch.setattr(server.system.log, "read", away)
    with pytest.raises(httpx.RemoteProtocolError):
        await user.get(f"/api/v1/chats/{chat_id}/export")


async def test_what_open_webui_takes_is_imported_here_as_the_same_tree(server: Running) -> None:
    pytest.importorskip("api.chats.importing")
    ada, bob = await server.sign_up("Ada"), await server.sign_up("Bob")
    chat_id, *_ = await talked(server, ada)
    chats = json.loads(await export(ada, chat_id, format="open-webui"))
    answer = await bob.post("/api/v1/chats/import", {"chats": chats})
    assert answer.status_code == 200, answer.text
    there = chats[0]["chat"]
    here = (await bob.get(f"/api/v1/chats/{answer.json()[0]['id']}")).json()["chat"]
    assert here["title"] == there["title"]

    def tree(chat: Any) -> list[Any]:
        """What each branch says, whatever its messages are called."""
        messages = chat["history"]["messages"]

        def below(message_id: str) -> Any:
            message = messages[message_id]
            return (message["role"], message["content"], [below(child) for child in message["childrenIds"]])

        return [below(one) for one in messages if messages[one]["parentId"] is None]

    assert tree(here) == tree(there)
    assert [message["content"] for message in here["messages"]] == [message["content"] for message in there["messages"]]
