"""The rows that a fold reads and changes, found by what events name, and which of them it has changed."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from projections.figures.rows import Conversation, Duel, Generation, Membership, Message, Person, Rating

Key = tuple[Any, ...]


class Tables:
    """All rows of a log, or those that one batch of events concerns."""

    def __init__(self) -> None:
        self.conversations: dict[UUID, Conversation] = {}
        self.messages: dict[tuple[UUID, UUID], Message] = {}
        self.generations: dict[tuple[UUID, UUID], Generation] = {}
        self.ratings: dict[tuple[UUID, int], Rating] = {}
        self.duels: dict[tuple[UUID, int, UUID], Duel] = {}
        self.memberships: dict[tuple[UUID, UUID, int], Membership] = {}
        self.people: dict[UUID, Person] = {}
        self._answers: defaultdict[tuple[UUID, UUID | None], dict[UUID, Message]] = defaultdict(dict)  # by stream and parent
        self._current: defaultdict[tuple[UUID, UUID], list[Rating]] = defaultdict(list)  # ratings that none supersedes
        self._members: defaultdict[UUID, list[Membership]] = defaultdict(list)  # of those who have not left
        self.changed: dict[type[Any], dict[Key, Any]] = {
            table: {} for table in (Conversation, Message, Generation, Rating, Duel, Membership, Person)
        }

    # ---------------------------------------------------------------------------------- rows that are there already

    def load_message(self, row: Message) -> None:
        self.messages[row.stream_id, row.message_id] = row
        if row.role == "assistant":
            self._answers[row.stream_id, row.parent_id][row.message_id] = row

    def load_rating(self, row: Rating) -> None:
        self.ratings[row.stream_id, row.version] = row
        self._current[row.stream_id, row.message_id].append(row)

    def load_membership(self, row: Membership) -> None:
        self.memberships[row.stream_id, row.user_id, row.version] = row
        if row.left_at is None:
            self._members[row.stream_id].append(row)

    # ---------------------------------------------------------------------------------- changes

    def put_conversation(self, row: Conversation) -> None:
        self.conversations[row.stream_id] = row
        self.changed[Conversation][row.stream_id,] = row

    def put_message(self, row: Message) -> None:
        self.load_message(row)
        self.changed[Message][row.stream_id, row.message_id] = row

    def put_generation(self, row: Generation) -> None:
        self.generations[row.stream_id, row.message_id] = row
        self.changed[Generation][row.stream_id, row.message_id] = row

    def put_rating(self, row: Rating) -> None:
        self.load_rating(row)
        self.changed[Rating][row.stream_id, row.version] = row

    def supersede(self, rating: Rating) -> None:
        """``superseded_at`` is set: it is no one's rating any more."""
        self._current[rating.stream_id, rating.message_id].remove(rating)
        self.changed[Rating][rating.stream_id, rating.version] = rating

    def put_duel(self, row: Duel) -> None:
        self.duels[row.stream_id, row.version, row.opponent_id] = row
        self.changed[Duel][row.stream_id, row.version, row.opponent_id] = row

    def put_membership(self, row: Membership) -> None:
        self.load_membership(row)
        self.changed[Membership][row.stream_id, row.user_id, row.version] = row

    def end_membership(self, row: Membership) -> None:
        """``left_at`` is set."""
        self._members[row.stream_id].remove(row)
        self.changed[Membership][row.stream_id, row.user_id, row.version] = row

    def change_membership(self, row: Membership) -> None:
        self.changed[Membership][row.stream_id, row.user_id, row.version] = row

    def put_person(self, row: Person) -> None:
        self.people[row.user_id] = row
        self.changed[Person][row.user_id,] = row

    # ---------------------------------------------------------------------------------- what is looked for

    def messages_of(self, stream_id: UUID) -> list[Message]:
        return [row for (of, _), row in self.messages.items() if of == stream_id]

    def generations_of(self, stream_id: UUID) -> list[Generation]:
        return [row for (of, _), row in self.generations.items() if of == stream_id]

    def answers_beside(self, message: Message) -> Iterable[Message]:
        """The other answers to the same question, in the order in which they began."""
        beside = self._answers[message.stream_id, message.parent_id].values()
        return sorted((one for one in beside if one.message_id != message.message_id), key=version_of)

    def current_rating(self, stream_id: UUID, message_id: UUID, user_id: UUID | None) -> Rating | None:
        return next((one for one in self._current[stream_id, message_id] if one.user_id == user_id), None)

    def members(self, stream_id: UUID, user_id: UUID | None = None) -> list[Membership]:
        """Those who have not left: all of them, or one."""
        return [one for one in self._members[stream_id] if user_id is None or one.user_id == user_id]


def version_of(message: Message) -> int:
    return message.version
