"""Which of a person's chats hold what they look for, in the order of their list.

There are two ways, and each is slow where the other is quick. To walk down the list and look into each chat until a page is full: some
rows for a frequent word, all of them for a rare one. To ask the index: nothing for a rare word, every second message for a
frequent one. So first a sample of the newest texts of the newest chats says how frequent it is.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from adapters.postgres.connections.queries import text
from domain.log.codec import decode
from projections.chat import blob_of
from projections.chat_search import TEXT_CHARACTERS_MAX, plain_text, said_by
from projections.ports import ChatFilter, FoundChat, ListedChat
from projections.search import Phrase, Term, conditions, query, snippet, terms
from projections.words import of_owner

LISTED: Final = text("listed_chats")
SAMPLED: Final = text("sampled_texts")
NEWEST: Final = text("newest_hits")
SHARES: Final = text("shares_of_words")
INDEXED: Final = text("indexed_hits")
INDEXED_APART: Final = text("indexed_hits_apart")
SHARED: Final = text("shared_hits")
FOUND: Final = text("found_texts")
BLOBS: Final = text("search_blobs")

SAMPLE_CHATS: Final = 100
SAMPLE_TEXTS: Final = 30  # of each
WALKED_TEXTS_MAX: Final = 4_000  # that are expected to be looked at for a page: beyond it the index is asked …
CONDITIONS: Final = 4  # of ``indexed_hits_apart``
FREQUENT: Final = 1 / 3  # … unless this share of all texts has it: the index would name too many


def listing(user_id: UUID, chosen: ChatFilter, offset: int, limit: int, among: Sequence[UUID] | None = None) -> tuple[Any, ...]:
    """The arguments of ``listed_chats``."""
    wanted = among if among is not None else list(chosen.only) if chosen.only is not None else None
    return (user_id, offset, limit, *marks(chosen), wanted, list(chosen.hidden), list(chosen.blocked))


def marks(chosen: ChatFilter) -> tuple[Any, ...]:
    """$4 to $10 of the lists' queries."""
    folder_ids = list(chosen.folder_ids) if chosen.folder_ids is not None else None
    tags = list(chosen.tags) or None
    return (chosen.pinned, chosen.archived, chosen.in_folder, folder_ids, tags, chosen.tagged, chosen.shared)


class Searching:
    """One search, in one snapshot."""

    def __init__(self, connection: Any, user_id: UUID, phrases: Sequence[Phrase], chosen: ChatFilter) -> None:
        self._connection = connection
        self._user_id = user_id
        self._phrases = phrases
        self._chosen = chosen
        self._query = query(phrases)

    async def page(self, offset: int, limit: int) -> list[FoundChat]:
        newest = await self._listed(0, SAMPLE_CHATS)
        sample = await self._connection.fetch(SAMPLED, [chat.chat_id for chat in newest], self._query, SAMPLE_TEXTS)
        seen, hits = sum(row["seen"] for row in sample), sum(row["hits"] for row in sample)
        is_all = len(newest) < SAMPLE_CHATS
        known = {row["chat_id"]: row["ordinal"] for row in sample if row["hits"] or row["seen"] < SAMPLE_TEXTS}
        is_near = hits * WALKED_TEXTS_MAX >= seen * (offset + limit)
        if (is_all and len(known) == len(newest)) or (hits and (is_near or hits >= seen * FREQUENT)):
            found = await self._walk(newest, known, offset + limit)
            page = found[offset : offset + limit]
        else:
            page = await self._indexed(offset, limit)
        return await self._shown(page)

    async def _listed(self, offset: int, limit: int, among: Sequence[UUID] | None = None) -> list[ListedChat]:
        rows = await self._connection.fetch(LISTED, *listing(self._user_id, self._chosen, offset, limit, among))
        return [ListedChat(**row) for row in rows]

    async def _walk(self, newest: list[ListedChat], known: dict[UUID, int | None], wanted: int) -> list[tuple[ListedChat, int]]:
        """The first ``wanted`` chats. ``known`` says of some which text has it; None: there is none."""
        found: list[tuple[ListedChat, int]] = []
        chats, listed, batch = newest, 0, SAMPLE_CHATS
        while True:
            unknown = [chat.chat_id for chat in chats if chat.chat_id not in known]
            if unknown:
                known |= {row["chat_id"]: row["ordinal"] for row in await self._connection.fetch(NEWEST, unknown, self._query)}
            for chat in chats:
                ordinal = known.get(chat.chat_id)
                if ordinal is not None:
                    found.append((chat, ordinal))
            listed += len(chats)
            if len(found) >= wanted or len(chats) < batch:
                return found[:wanted]
            # As many as should do, by those seen so far.
            batch = max(SAMPLE_CHATS, (wanted - len(found)) * listed // max(1, len(found)) + SAMPLE_CHATS)
            chats = await self._listed(listed, batch)

    async def _indexed(self, offset: int, limit: int) -> list[tuple[ListedChat, int]]:
        wanted = [*terms(self._phrases), Term(of_owner(self._user_id))]
        besides = self._query if any(len(phrase.words) > 1 for phrase in self._phrases) else None  # that they stand one after the other
        if besides is None or sum(not term.is_prefix for term in wanted) <= 2:
            own = await self._connection.fetch(INDEXED, *conditions(wanted, 1), besides)
        else:
            shares = dict(await self._connection.fetch(SHARES, [term.word for term in wanted]))
            wanted.sort(key=lambda term: (term.is_prefix, shares.get(term.word, 0.0)))
            own = await self._connection.fetch(INDEXED_APART, *conditions(wanted, CONDITIONS), besides)
        shared = await self._connection.fetch(SHARED, self._user_id, self._query)
        rows = [*own, *shared]
        ordinals: dict[UUID, int] = {row["chat_id"]: row["ordinal"] for row in rows}
        chats = await self._listed(offset, limit, list(ordinals)) if ordinals else []
        return [(chat, ordinals[chat.chat_id]) for chat in chats]

    async def _shown(self, page: Sequence[tuple[ListedChat, int]]) -> list[FoundChat]:
        if not page:
            return []
        ordinals = [ordinal for _, ordinal in page]
        rows = await self._connection.fetch(FOUND, [chat.chat_id for chat, _ in page], ordinals)
        hits = {row["chat_id"]: row for row in rows}
        contents = {row["chat_id"]: content_of(row) for row in rows if row["message_id"] is not None}
        texts = {chat_id: plain_text(content) for chat_id, content in contents.items()}
        blobs = {chat_id: blob for chat_id, content in contents.items() if (blob := blob_of(content)) is not None}
        if blobs:
            for row in await self._connection.fetch(BLOBS, list(blobs), list(blobs.values()), TEXT_CHARACTERS_MAX):
                texts[UUID(row["chat_id"])] = row["content"]
        found: list[FoundChat] = []
        for chat, _ in page:
            said = texts.get(chat.chat_id, chat.title)[:TEXT_CHARACTERS_MAX]
            found.append(FoundChat(chat, hits[chat.chat_id]["message_id"], snippet(said, self._phrases)))
        return found


def content_of(row: Any) -> Any:
    """What a message says, by its event or, where an emitter added to it, by its row."""
    if row["content"] is not None:
        return msgspec.json.decode(row["content"])
    return said_by(decode("chat", row["type"], row["data"])) if row["type"] is not None else ""
