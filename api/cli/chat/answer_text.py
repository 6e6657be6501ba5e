"""One answer as a person reads it, event by event. Pure: events in, styled pieces of text out."""

from collections.abc import Iterator, Set
from typing import Any, Literal, NamedTuple

from domain.generation import CONTINUED
from stenograph_client import ENDS, Event

Style = Literal["text", "reasoning", "tool", "note", "error"]
END_WORDS = {
    "cancelled": "stopped",
    "interrupted": "interrupted: its server stopped or was lost. What it had said is kept",
}


# What an answer that is whole all the same may lack, by its finish reason.
CUT_OFF = {"length": "the model reached its length limit", "content_filter": "the provider withheld the rest"}


class StyledPiece(NamedTuple):
    style: Style
    text: str


class AnswerText:
    """What to show of the answers ``message_ids``. ``outcome`` is the type of the event that ended the last of them.

    Without ``repeats``, the text of the answer that is continued is left out: it stands on the screen.
    """

    def __init__(self, message_ids: Set[str], *, repeats: bool = True) -> None:
        self._open = set(message_ids)
        self._repeats = repeats
        self._repeated: set[tuple[str, int]] = set()
        self._blocks: dict[tuple[str, int], str] = {}
        self._in: tuple[str, int] | None = None  # the block that was shown last
        self._continued: tuple[str, int] | None = None  # the text of a continued answer: what is new stands right behind it
        self.said: list[str] = []  # the text of text blocks
        self.outcome: str | None = None
        self.usage: Any = None
        self.is_cut_off = False  # it ended before it was whole

    @property
    def over(self) -> bool:
        return not self._open

    def feed(self, event: Event) -> Iterator[StyledPiece]:
        if event.message_id not in self._open or event.message_id is None:
            return
        data = event.data if isinstance(event.data, dict) else {}
        match event.type:
            case "content_block":
                block = (event.message_id, data["index"])
                self._blocks[block] = data["type"]
                if data.get("name") == CONTINUED:
                    self._continued = block
                    if not self._repeats:
                        self._repeated.add(block)
                if data["type"] == "tool_call":
                    yield from self._turn_to(block)
                    yield StyledPiece("tool", f"→ {data.get('name') or 'tool'} ")
                elif data["type"] == "audio":
                    yield from self._turn_to(block)
                    yield StyledPiece("note", "[audio]")
            case "message_delta":
                block = (event.message_id, data["index"])
                kind = self._blocks.get(block, "text")
                if kind == "audio" or block in self._repeated:
                    return  # for ears: its transcript is text
                yield from self._turn_to(block)
                match kind:
                    case "reasoning":
                        yield StyledPiece("reasoning", data["text"])
                    case "tool_call":
                        yield StyledPiece("tool", data["text"])
                    case _:
                        self.said.append(data["text"])
                        yield StyledPiece("text", data["text"])
            case "status":
                if data.get("description"):
                    yield StyledPiece("note", f"[{data['description']}] ")
            case "error":
                yield StyledPiece("error", f"\n[{data.get('code', 'error')}: {data.get('detail', 'the answer failed')}]")
            case "cancelled" | "interrupted":
                yield StyledPiece("note", f"\n[{END_WORDS[event.type]}]")
            case "message_end":
                self.usage = data.get("usage")
                if data.get("finish_reason") in CUT_OFF:
                    yield StyledPiece("note", f"\n[cut off: {CUT_OFF[data['finish_reason']]}]")
            case _:
                pass
        if event.type in ENDS:
            self._open.discard(event.message_id)
            self.outcome = event.type
            self.is_cut_off = event.type != "message_end" or data.get("finish_reason") == "length"

    def _turn_to(self, block: tuple[str, int]) -> Iterator[StyledPiece]:
        if self._in is not None and self._in != block and self._in != self._continued:
            yield StyledPiece("note", "\n")
        self._in = block
