"""Events of a chat as Open WebUI's page gets them: what is on its screen after them is what the log says."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, strategies

from api.dialects.open_webui.envelopes import ChatEnvelopes
from api.formats.page_json import INTERRUPTED, output_items
from domain.chat.facts import ChatRenamed, MessageAdded, MessageDeleted, MessageEdited, MessageRated
from domain.generation import BlockOpened, GenerationFailed, GenerationInterrupted, MessageDelta
from domain.log.event import Emitted, Event, StoredEvent
from projections.chat import ChatView, text_of
from tests.domain.histories import CHAT, FEW, NODE, History, ended, histories
from tests.projections.test_chat import ASKED, CREATED, START, STARTED, A, Q, stored

TEXT, THOUGHT = Event(A, BlockOpened(0, "text")), Event(A, BlockOpened(0, "reasoning"))


def delta(text: str, index: int = 0) -> Event[Any]:
    return Event(A, MessageDelta(index, text))


def envelopes_at(events: list[StoredEvent], version: int) -> ChatEnvelopes:
    chat = ChatView()
    for event in events[:version]:
        chat.apply(event)
    return ChatEnvelopes(CHAT, chat)


def of(*events: Event[Any], after: int = 0) -> list[Any]:
    """The envelopes of the events above a version, as ``(type, data)``."""
    rows = stored(events)
    made = envelopes_at(rows, after).of(rows[after:])
    assert {one["chat_id"] for one in made} <= {str(CHAT)}
    return [(one["data"]["type"], one["data"]["data"]) for one in made]


def test_a_new_question_and_a_new_answer_are_messages_in_their_place() -> None:
    (asked, started, active) = of(CREATED, ASKED, STARTED)
    assert asked[0] == started[0] == "chat:messages"
    assert asked[1]["messages"][str(Q)]["content"] == "hello"
    assert asked[1]["currentId"] == str(Q)
    assert started[1]["messages"][str(A)]["done"] is False
    assert started[1]["messages"][str(Q)] == {"id": str(Q), "childrenIds": [str(A)]}
    assert active == ("chat:active", {"active": True})


def test_pieces_that_arrive_together_are_one_envelope() -> None:
    (piece,) = of(CREATED, ASKED, STARTED, TEXT, delta("a"), delta("b"), delta("c"), after=4)
    assert piece == (
        "response:completion",
        {"type": "response.output_text.delta", "item_id": f"{A}-0", "output_index": 0, "content_index": 0, "delta": "abc"},
    )


def test_thoughts_and_text_are_items_of_their_own() -> None:
    pieces = of(CREATED, ASKED, STARTED, THOUGHT, delta("hm"), Event(A, BlockOpened(1, "text")), delta("so", 1), after=3)
    assert [(one["type"], one["output_index"], one["delta"]) for _, one in pieces] == [
        ("response.reasoning_text.delta", 0, "hm"),
        ("response.output_text.delta", 1, "so"),
    ]


def test_a_tool_call_begins_as_an_item_with_its_name() -> None:
    call = Event(A, BlockOpened(0, "tool_call", "add", "call-1"))
    added, piece = of(CREATED, ASKED, STARTED, call, delta("{}"), after=3)
    assert added[1]["type"] == "response.output_item.added"
    assert {name: added[1]["item"][name] for name in ("type", "call_id", "name")} == {
        "type": "function_call",
        "call_id": "call-1",
        "name": "add",
    }
    assert piece[1]["type"] == "response.function_call_arguments.delta"


def test_an_end_says_all_of_the_answer() -> None:
    done, idle = of(CREATED, ASKED, STARTED, TEXT, delta("so"), Event(A, ended("so")), after=5)
    assert done[0] == "chat:completion"
    assert (done[1]["content"], done[1]["done"]) == ("so", True)
    assert idle == ("chat:active", {"active": False})


def test_a_page_may_stop_what_is_still_written_beside_an_answer_that_has_ended() -> None:
    b = UUID(int=8)
    other = Event(b, STARTED.data)
    done = of(CREATED, ASKED, STARTED, other, Event(A, ended("")), after=4)
    assert [kind for kind, _ in done] == ["chat:completion"]
    rows = [CREATED, ASKED, STARTED, other, Event(A, ended("")), Event(b, ended(""))]
    assert [kind for kind, _ in of(*rows, after=5)] == ["chat:completion", "chat:active"]


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (GenerationFailed("provider_status", "the provider says no", "so"), {"content": "the provider says no", "code": "provider_status"}),
        (GenerationInterrupted(NODE, "so"), INTERRUPTED),
    ],
)
def test_an_answer_that_broke_off_says_why_and_keeps_its_text(end: Any, error: Any) -> None:
    failed, done, _ = of(CREATED, ASKED, STARTED, TEXT, delta("so"), Event(A, end), after=5)
    assert failed == ("chat:message:error", {"error": error})
    assert (done[1]["content"], done[1]["done"]) == ("so", True)


def test_changes_of_messages_that_are_not_held_make_the_page_read_again() -> None:
    rows = stored([CREATED, ASKED, STARTED, Event(A, ended("")), Event(Q, MessageEdited({"content": "x"}))])
    chat = envelopes_at(rows, 4)
    chat._view.messages = chat._view.messages.only([str(A)])
    (envelope,) = chat.of(rows[4:])
    assert envelope["data"]["type"] == "chat:reload"
    assert of(CREATED, ASKED, Event(Q, MessageDeleted()), after=2)[0][0] == "chat:reload"


def test_an_edit_and_a_rating_are_the_message_anew() -> None:
    (edited,) = of(CREATED, ASKED, Event(Q, MessageEdited({"content": "x"})), after=2)
    assert edited[1]["messages"][str(Q)]["content"] == "x"
    (rated,) = of(CREATED, ASKED, Event(Q, MessageRated(1)), after=2)
    assert rated[1]["messages"][str(Q)]["annotation"]["rating"] == 1


@pytest.mark.parametrize("name", ["execute", "confirmation", "input", "request:user_input", "chat:title", "chat:completion", "terminal:x"])
def test_an_emitter_makes_no_page_act(name: str) -> None:
    """Whoever may write in a chat may emit; the page would run code, or ask its user."""
    assert of(CREATED, ASKED, Event(Q, Emitted(name, {"code": "alert(1)"})), after=2) == []


def test_files_are_all_files_and_a_status_is_the_new_one() -> None:
    one, two = (Event(Q, Emitted("files", {"files": [{"id": name}]})) for name in "ab")
    assert of(CREATED, ASKED, one, two, after=3) == [("files", {"files": [{"id": "b"}, {"id": "a"}]})]
    assert of(CREATED, ASKED, Event(Q, Emitted("status", {"description": "x"})), after=2) == [("status", {"description": "x"})]


def test_what_is_added_to_an_answer_is_among_its_items() -> None:
    """Of an answer that has items the page shows these, and not its text."""
    added = Event(A, Emitted("message", {"content": "(1 word)"}))
    ((kind, data),) = of(CREATED, ASKED, STARTED, TEXT, delta("so"), Event(A, ended("so")), added, after=6)
    assert (kind, data["content"], "done" in data) == ("chat:completion", "so(1 word)", False)
    assert "".join(one["content"][0]["text"] for one in data["output"]) == "so(1 word)"


def test_a_name_is_told_below_a_message_that_the_page_knows() -> None:
    rows = stored([CREATED, ASKED, Event(None, ChatRenamed("new"))])
    (envelope,) = envelopes_at(rows, 2).of(rows[2:])
    assert (envelope["message_id"], envelope["data"]) == (str(Q), {"type": "chat:title", "data": "new"})


def test_a_page_that_joins_gets_what_is_said_so_far_or_the_end_that_it_has_missed() -> None:
    rows = stored([CREATED, ASKED, STARTED, TEXT, delta("so "), delta("far"), Event(A, ended("so far"))])
    now = START + timedelta(seconds=30)
    (text,) = envelopes_at(rows, 6).so_far(now)
    assert (text["data"]["type"], text["data"]["data"]["content"], "done" in text["data"]["data"]) == ("chat:completion", "so far", False)
    done, _ = envelopes_at(rows, 7).so_far(now)
    assert (done["data"]["data"]["content"], done["data"]["data"]["done"]) == ("so far", True)
    assert envelopes_at(rows, 7).so_far(now + timedelta(hours=1)) == []
    assert all(one["internal"] for version in (6, 7) for one in envelopes_at(rows, version).so_far(now)), "else the page shows it as news"
    assert envelopes_at(rows, 2).so_far(now) == []


def test_a_page_is_told_what_a_new_chat_is_called() -> None:
    rows = stored([CREATED, ASKED])
    (title,) = envelopes_at(rows, 2).title(START + timedelta(seconds=30))
    assert title["data"] == {"type": "chat:title", "data": "a title"}
    assert envelopes_at(rows, 2).title(START + timedelta(hours=1)) == []
    assert envelopes_at(rows, 1).title(START) == [], "a page hears of a chat below one of its messages"


class Screen:
    """What a page shows of answers, by the rules of its own code: pieces are put behind what is there, whole texts in its place."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.done: set[str] = set()

    def take(self, envelope: Any) -> None:
        message_id, kind, data = envelope["message_id"], envelope["data"]["type"], envelope["data"]["data"]
        match kind:
            case "response:completion" if data["type"] == "response.output_text.delta":
                self.texts[message_id] = self.texts.get(message_id, "") + data["delta"]
            case "chat:completion":
                self.texts[message_id] = data["content"]
                if data.get("done"):
                    self.done.add(message_id)
            case "chat:messages":
                for one, node in data["messages"].items():
                    if "content" in node and node["role"] == "assistant":
                        self.texts[one] = node["content"] if isinstance(node["content"], str) else ""
            case "message" | "chat:message:delta":
                self.texts[message_id] = self.texts.get(message_id, "") + str(data.get("content", ""))
            case "replace" | "chat:message":
                self.texts[message_id] = data.get("content", "")
            case _:
                pass


@given(histories(), strategies.data())
@FEW
def test_what_is_on_the_screen_is_what_the_log_says(history: History, data: strategies.DataObject) -> None:
    """Of the answers that are written while a page looks, whenever it joined and however the events came together."""
    rows = stored(history.events)
    joined = data.draw(strategies.integers(0, len(rows)))
    whole = data.draw(strategies.booleans())
    envelopes, screen = envelopes_at(rows, joined), Screen()
    for envelope in envelopes.so_far(START):
        screen.take(envelope)
    at = joined
    while at < len(rows):
        step = data.draw(strategies.integers(1, 5))
        for envelope in envelopes.of(rows[at : at + step], whole_texts=whole):
            screen.take(envelope)
        at += step
    chat = envelopes._view
    for message_id, text in screen.texts.items():
        message = chat.messages.get(message_id)
        if message is not None and message["role"] == "assistant" and isinstance(text_of(message), str):
            assert text == text_of(message), message_id


def test_the_items_of_an_answer_show_what_replaced_its_text() -> None:
    blocks = [{"index": 0, "type": "reasoning", "text": ["hm"]}, {"index": 1, "type": "text", "text": []}]
    items = output_items({"id": "a", "done": True, "content": "new", "blocks": blocks})
    assert [(one["type"], one["content"][0]["text"]) for one in items] == [("reasoning", "hm"), ("message", "new")]


def test_a_message_that_is_added_whole_is_known_at_once() -> None:
    added = Event(UUID(int=7), MessageAdded(Q, "assistant", "by hand", None, {}))
    (envelope,) = of(CREATED, ASKED, added, after=2)
    assert envelope[1]["messages"][str(UUID(int=7))]["content"] == "by hand"
