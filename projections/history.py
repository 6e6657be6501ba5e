"""All chats as rows: lists, trees of messages, and what searches look through. Three projections that share one checkpoint."""

from collections.abc import Sequence

from domain.stream import Kind
from projections.chat_list import ChatList
from projections.chat_search import ChatSearch
from projections.chat_tree import ChatTree
from projections.projection import Projecting, Recorded, together


class History:
    """The projection."""

    name = "history"
    kinds: frozenset[Kind] = frozenset({"chat"})
    by_stream = True

    def project(self, events: Sequence[Recorded]) -> Projecting:
        return together([part.project(events) for part in (ChatTree(), ChatList(), ChatSearch())])
