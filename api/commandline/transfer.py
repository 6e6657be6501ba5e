"""``steno export`` and ``steno import``: a chat as JSON Lines, and back as a chat of one's own.

Export writes every event, each with the seconds since the one before (``interval_s``). Import does what a person could do through the
API: a new chat, its messages as they were at the end (texts, models, edits, ratings, the branch), not the tokens one by one.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from api.commandline.place import Failed, Place, chat_stream, options, run, with_client
from api.commandline.progress import Progress
from client import ENDS, Client, ClientError, Event

# -------------------------------------------------------------------------------------------------------------- export


class Line(msgspec.Struct, frozen=True):
    """One line of an export."""

    stream: str
    epoch: str
    version: int
    position: int
    at: datetime
    interval_s: float  # since the event before; 0 for the first
    type: str
    data: Any
    message_id: str | None = None
    user: Mapping[str, Any] | None = None


def line_of(event: Event, before: datetime | None) -> Line:
    interval_s = (event.at - before).total_seconds() if before is not None else 0.0
    user = msgspec.to_builtins(event.user) if event.user is not None else None
    return Line(
        event.stream, event.epoch, event.version, event.position, event.at, interval_s, event.type, event.data, event.message_id, user
    )


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Any]:
    """A binary file that appears under its name only when it is complete."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@click.command()
@click.argument("chat")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file to write. Default: standard output.")
@options
def export(place: Place, chat: str, output: Path | None) -> None:
    """Write every event of CHAT (an id, or `last`) as JSON Lines, each with the seconds since the one before."""

    async def write(client: Client, file: Any) -> int:
        stream = await chat_stream(client, chat)
        head = (await client.page(stream, "now", limit=1)).head
        before: datetime | None = None
        count = 0
        with Progress("Exporting", head) as progress:
            async for event in client.events(stream):
                file.write(msgspec.json.encode(line_of(event, before)) + b"\n")
                before = event.at
                count += 1
                progress.advance()
        return count

    async def work(client: Client) -> None:
        if output is None:
            await write(client, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        with whole_file(output) as file:
            count = await write(client, file)
        click.echo(f"{count} events in {output}", err=True)

    try:
        run(with_client(place, work))
    except OSError as error:
        raise Failed(f"{output} cannot be written: {error.strerror or error}") from None


# -------------------------------------------------------------------------------------------------------------- import


@dataclass
class Message:
    """One message as it was at the end."""

    id: str
    role: str
    content: Any
    parent_id: str | None
    fields: dict[str, Any] = field(default_factory=dict)
    rating: tuple[int, str | None] | None = None
    deleted: bool = False
    blocks: dict[int, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)  # the text of its text blocks, for an answer whose end is not in the file


@dataclass
class Imported:
    """A chat folded from its lines. Pure."""

    title: str = "Imported chat"
    keys: dict[str, Any] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    current_id: str | None = None

    def apply(self, line: Line) -> None:
        data = line.data if isinstance(line.data, dict) else {}
        fields = dict(data.get("fields") or {})
        known = self.messages.get(line.message_id or "")
        match line.type:
            case "chat_created":
                self.title = str(data.get("title") or self.title)
                self.keys |= fields or others(data, {"owner_id", "title", "folder_id", "client_id", "listed", "fields"})
            case "chat_renamed":
                self.title = str(data.get("title") or self.title)
            case "chat_configured":
                self.keys |= fields or data
            case "message_added" if line.message_id is not None:
                extra = fields or others(data, {"parent_id", "role", "content", "client_id", "fields"})
                self._add(Message(line.message_id, str(data.get("role", "user")), data.get("content", ""), data.get("parent_id"), extra))
            case "message_start" if line.message_id is not None:
                self._add(Message(line.message_id, "assistant", "", data.get("parent_id"), {"model": data.get("model"), **fields}))
            case "chat_branch_selected":
                self.current_id = line.message_id
            case _ if known is not None:
                self._change(known, line.type, data, fields)
            case _:
                pass

    def _add(self, message: Message) -> None:
        self.messages[message.id] = message
        self.current_id = message.id

    def _change(self, message: Message, kind: str, data: dict[str, Any], fields: dict[str, Any]) -> None:
        match kind:
            case "content_block":
                message.blocks[data["index"]] = data["type"]
            case "message_delta" if message.blocks.get(data["index"], "text") == "text":
                message.said.append(data["text"])
                message.content = "".join(message.said)
            case ended if ended in ENDS:
                if isinstance(data.get("content"), str):
                    message.content = data["content"]
                if ended != "message_end":
                    message.fields["state"] = ended
                elif data.get("usage") is not None:
                    message.fields["usage"] = data["usage"]
            case "message_edited":
                changed = fields or data
                message.content = changed.pop("content", message.content)
                message.fields |= changed
            case "message_deleted":
                message.deleted = True
                if self.current_id == message.id:
                    self.current_id = message.parent_id
            case "message_rated":
                message.rating = (int(data.get("rating", 0)), data.get("comment"))
            case _:
                pass

    def kept(self) -> list[Message]:
        """What is left, parents first."""
        return [message for message in self.messages.values() if not message.deleted]

    def parent_of(self, message: Message) -> str | None:
        """The nearest one above that is left."""
        at = message.parent_id
        while at is not None:
            above = self.messages.get(at)
            if above is None:
                return None
            if not above.deleted:
                return at
            at = above.parent_id
        return None


def others(data: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in known}


def fold(lines: Iterable[bytes]) -> Imported:
    """Raises ``Failed`` with the line that is none, or for a file of something else."""
    imported = Imported()
    version = 0
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        try:
            line = msgspec.json.decode(raw, type=Line)
        except msgspec.DecodeError as error:
            raise Failed(f"Line {number} is not an event that `steno export` wrote: {error}") from None
        if not line.stream.startswith("chat/"):
            raise Failed(f"Line {number} is of {line.stream}: only chats can be imported.")
        if line.version != version + 1:
            raise Failed(f"Line {number}: expected version {version + 1}, found {line.version}. The file is not complete.")
        version = line.version
        imported.apply(line)
    if not version:
        raise Failed("The file is empty.")
    return imported


async def send(client: Client, imported: Imported) -> str:
    """Make the chat. Returns its id."""
    chat_id = str((await client.new_chat(imported.title, **imported.keys))["id"])
    kept = imported.kept()
    try:
        with Progress("Importing", len(kept)) as progress:
            for message in kept:
                await client.add_message(
                    chat_id,
                    message.role,
                    message.content,
                    message_id=message.id,
                    parent_id=imported.parent_of(message),
                    fields=message.fields,
                )
                if message.rating is not None:
                    rating, comment = message.rating
                    await client.http.post(f"/api/v1/chats/{chat_id}/messages/{message.id}/rating", {"rating": rating, "comment": comment})
                progress.advance()
            if imported.current_id is not None and kept and imported.current_id != kept[-1].id:
                await client.http.post(f"/api/v1/chats/{chat_id}/branch", {"message_id": imported.current_id})
    except ClientError:
        click.secho(f"The chat {chat_id} holds what was imported before this:", fg="red", err=True)
        raise
    return chat_id


def import_lines(place: Place, lines: Iterable[bytes]) -> None:
    """Make a new chat of one's own from what `steno export` wrote.

    Its messages come as they were at the end: texts, models, edits, ratings, branches. Times, and who wrote, are the caller's and now.
    """
    imported = fold(lines)

    async def work(client: Client) -> None:
        chat_id = await send(client, imported)
        click.echo(f"{len(imported.kept())} messages in chat {chat_id}", err=True)
        click.echo(chat_id)

    run(with_client(place, work))
