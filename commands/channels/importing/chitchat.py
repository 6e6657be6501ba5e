"""The Chit Chat data set as one channel: each conversation is a thread, whose first message is the first that was said."""

from collections.abc import Iterable, Iterator
from datetime import UTC
from typing import Final

import msgspec

from commands.channels.importing.imported import Imported, ImportedChannel, ImportedMessage, ImportedPerson, SkippedPart
from commands.transfer.chitchat import Conversation
from domain.log.codec import UNREADABLE

SOURCE: Final = "chitchat"
CHANNEL: Final = "chitchat"
NAME_CHARACTERS: Final = 8  # of a sender's key: the data set names nobody

_decoder: Final = msgspec.json.Decoder(Conversation)


def parts(conversations: Iterable[tuple[str, bytes]], name: str) -> Iterator[Imported]:
    """``conversations``: key and JSON of each, in the order of the file."""
    is_begun = False
    for key, raw in conversations:
        try:
            turns = _decoder.decode(raw).messages
        except UNREADABLE as error:
            yield SkippedPart(f"conversation {key}", str(error)[:300])
            continue
        root: str | None = None
        for number, turn in enumerate(turns):
            for place, utterance in enumerate(turn):
                person = ImportedPerson(utterance.sender, utterance.sender[:NAME_CHARACTERS])
                said = f"{key}.{number}.{place}"
                at = utterance.timestamp if utterance.timestamp.tzinfo is not None else utterance.timestamp.replace(tzinfo=UTC)
                if not is_begun:
                    is_begun = True
                    yield ImportedChannel(SOURCE, CHANNEL, name, at)
                yield ImportedMessage(CHANNEL, said, at, utterance.text, person, parent=root)
                root = root or said
