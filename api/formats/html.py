"""A transcript as one HTML page that needs nothing else: no scripts, no requests, readable on a screen and on paper.

Everything that somebody wrote is text until it is escaped here. Markdown becomes markup through a parser that knows no HTML; images
that are not in the page itself become links.
"""

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from api.formats.transcript import Entry, Transcript, moment

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

MEDIA_TYPE: Final = "text/html"
# Also in the page itself, for a page opened from disk: content that got past the escaping could still not run.
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'"
RENDERED_CHARACTERS_MAX: Final = 50_000  # beyond it a text is shown as it was written: rendering it takes a second and more
IMAGE: Final = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+")
ADDRESS: Final = re.compile(r"https?://[^\s\"'<>]+")

STYLE: Final = (Path(__file__).parent / "transcript.css").read_text(encoding="utf-8")


@functools.cache
def renderer() -> "MarkdownIt":
    """CommonMark with tables, without HTML, without automatic links, and without images from elsewhere."""
    from markdown_it import MarkdownIt  # only here: most processes never render a transcript

    made = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    link = made.validateLink

    def image(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
        address = str(tokens[index].attrGet("src") or "")
        return picture(address, str(tokens[index].content))

    def is_link(url: str) -> bool:
        return bool(link(url)) and url.lower().startswith(("http://", "https://", "mailto:", "#", "data:image/"))

    def opened(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
        tokens[index].attrSet("rel", "noopener noreferrer nofollow")
        return str(self.renderToken(tokens, index, options, env))

    made.validateLink = is_link  # type: ignore[method-assign]  # the parser's own hook
    made.add_render_rule("image", image)
    made.add_render_rule("link_open", opened)
    return made


async def html(transcript: Transcript) -> AsyncIterator[str]:
    await transcript.read_models()
    view = transcript.view
    title = escape(transcript.title)
    facts = [f"{len(transcript.indexes):,} messages"]
    if transcript.left_out:
        facts.append(f"{transcript.left_out:,} more on other branches")
    if transcript.models:
        facts.append("with " + ", ".join(transcript.models))
    if view.created_at is not None and view.updated_at is not None:
        facts.append(f"{moment(view.created_at)} to {moment(view.updated_at)}")
    facts.append(f"as of version {view.version}")
    yield head(title, facts, view.tags)
    async for entry in transcript.entries():
        # Beside the loop that tokens go through: a long text takes its time.
        yield await asyncio.to_thread(message, entry)
    yield foot(f"chat {transcript.chat_id}, version {view.version}")


def head(title: str, facts: Sequence[str], tags: Sequence[str] = ()) -> str:
    """Up to the first message. ``title`` is escaped already."""
    named = "".join(f'<span class="tag">{escape(tag)}</span>' for tag in tags)
    return (
        f'<!doctype html>\n<html>\n<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<header>\n<h1 dir="auto">{title}</h1>\n<p>{escape(" · ".join(facts))}</p>\n'
        + (f"<p>{named}</p>\n" if named else "")
        + "</header>\n<main>\n"
    )


def foot(of: str) -> str:
    return f"</main>\n<footer>Exported from Stenograph: {of}.</footer>\n</body>\n</html>\n"


def message(entry: Entry) -> str:
    role = entry.role if entry.role in ("user", "assistant", "system") else "other"
    notes = []
    if entry.version[1] > 1:
        notes.append(f"version {entry.version[0]} of {entry.version[1]}")
    if entry.answers is not None:
        notes.append(f'answers <a href="#m-{escape(entry.answers)}">an earlier message</a>')
    if entry.added_by:
        notes.append(f"added by {escape(entry.added_by)}: no model generated it here")
    if entry.edited_at is not None:
        by = f" by {escape(entry.edited_by)}" if entry.edited_by else ""
        notes.append(f'edited <time datetime="{entry.edited_at.isoformat()}">{moment(entry.edited_at)}</time>{by}')
    parts = [
        f'<article class="{role}" id="m-{escape(entry.id)}">\n<div class="by"><strong dir="auto">{escape(entry.author)}</strong>'
        f'<time datetime="{entry.at.isoformat()}">{moment(entry.at)}</time>',
        *(f'<span class="note">{note}</span>' for note in notes),
        "</div>\n",
        *(piece(kind, text, name) for kind, text, name in entry.pieces),
    ]
    if entry.unfinished:
        said = escape(entry.unfinished) + (f": {escape(entry.error)}" if entry.error else "")
        parts.append(f'<div class="stop">{said}</div>\n')
    items = [f"Attached: {escape(name)}" for name in entry.files]
    items += [f"Source: {linked(address, name) if address else escape(name)}" for name, address in entry.sources]
    if entry.rating is not None:
        items.append(f"Rated {entry.rating[0]:+d}" + (f": {escape(entry.rating[1])}" if entry.rating[1] else ""))
    if items:
        parts.append('<ul class="small">' + "".join(f"<li>{item}</li>" for item in items) + "</ul>\n")
    parts.append("</article>\n")
    return "".join(parts)


def piece(kind: str, text: str, name: str) -> str:
    match kind:
        case "text":
            return f'<div class="text" dir="auto">{written(text)}</div>\n'
        case "reasoning":
            return f'<details open><summary>Reasoning</summary><div class="text" dir="auto">{written(text)}</div></details>\n'
        case "tool_call":
            named = escape(name or "a tool")
            return f"<details open><summary>Called {named}</summary><pre><code>{escape(text)}</code></pre></details>\n"
        case "image":
            return f'<div class="text">{picture(text, "")}</div>\n'
        case _:
            return f'<p class="note">[{escape(text)}]</p>\n'


def written(text: str) -> str:
    """Markdown as markup; a very long text as it was written."""
    if len(text) > RENDERED_CHARACTERS_MAX:
        return f'<div class="plain">{escape(text)}</div>'
    return str(renderer().render(text))


def picture(address: str, name: str) -> str:
    """An image that the page holds itself; a link to any other."""
    if IMAGE.fullmatch(address):
        return f'<img src="{address}" alt="{escape(name or "An image")}">'
    return linked(address, name or "An image") if ADDRESS.fullmatch(address) else f"[{escape(name or 'An image')}]"


def linked(address: str, name: str) -> str:
    if not ADDRESS.fullmatch(address):
        return escape(name)
    return f'<a href="{escape(address)}" rel="noopener noreferrer nofollow">{escape(name)}</a>'
