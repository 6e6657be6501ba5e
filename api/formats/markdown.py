"""A transcript in Markdown. What people and models wrote in Markdown goes through as it is, since that is what it is."""

import re
from collections.abc import AsyncIterator
from typing import Final

from api.formats.transcript import Entry, Transcript, moment

MEDIA_TYPE: Final = "text/markdown"
SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|~!])")
FENCES: Final = re.compile(r"`{3,}")


async def markdown(transcript: Transcript) -> AsyncIterator[str]:
    await transcript.read_models()
    view = transcript.view
    yield f"# {line(transcript.title)}\n\n"
    facts = [f"- As of version {view.version}"]
    if view.created_at is not None and view.updated_at is not None:
        facts.append(f"- Begun {moment(view.created_at)}, last changed {moment(view.updated_at)}")
    if transcript.models:
        facts.append(f"- Models: {', '.join(map(line, transcript.models))}")
    if view.tags:
        facts.append(f"- Tags: {', '.join(map(line, view.tags))}")
    facts.append(
        f"- {len(transcript.indexes)} messages" + (f"; {transcript.left_out} more on other branches" if transcript.left_out else "")
    )
    yield "\n".join(facts) + "\n"
    async for entry in transcript.entries():
        yield message(entry)


def message(entry: Entry) -> str:
    parts = [f"\n---\n\n## {line(entry.author)} · {entry.role} · {moment(entry.at)}\n"]
    if entry.version[1] > 1:
        parts.append(f"*Version {entry.version[0]} of {entry.version[1]}.*\n")
    if entry.answers is not None:
        parts.append(f"*Answers message `{entry.answers}`.*\n")
    if entry.added_by:
        parts.append(f"*Added by {line(entry.added_by)}: no model generated it here.*\n")
    if entry.edited_at is not None:
        parts.append(f"*Edited {moment(entry.edited_at)}{f' by {line(entry.edited_by)}' if entry.edited_by else ''}.*\n")
    for kind, text, name in entry.pieces:
        match kind:
            case "text":
                parts.append(f"{text}\n")
            case "reasoning":
                parts.append("> **Reasoning**\n>\n" + quoted(text))
            case "tool_call":
                parts.append(f"**Called {line(name or 'a tool')}**\n\n{fenced(text, 'json')}\n")
            case "image":
                parts.append("*[An image]*\n" if text.startswith("data:") else f"*[An image: {line(text)}]*\n")
            case _:
                parts.append(f"*[{line(text)}]*\n")
    if entry.unfinished:
        parts.append(f"**[{entry.unfinished}{': ' + line(entry.error) if entry.error else ''}]**\n")
    if entry.files:
        parts.append("Attached: " + ", ".join(map(line, entry.files)) + "\n")
    if entry.sources:
        parts.append(
            "Sources:\n\n" + "".join(f"- {line(name)}{' – ' + line(address) if address else ''}\n" for name, address in entry.sources)
        )
    if entry.rating is not None:
        value, comment = entry.rating
        parts.append(f"Rated {value:+d}{': ' + line(comment) if comment else ''}\n")
    return "\n".join(parts)


def line(text: str) -> str:
    """One line in which nothing is markup."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def quoted(text: str) -> str:
    return "".join(f"> {one}\n" for one in text.splitlines() or [""])


def fenced(text: str, language: str) -> str:
    """A block that its own content can't end."""
    longest = max((len(found) for found in FENCES.findall(text)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
