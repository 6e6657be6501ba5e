"""Who and what a message's text mentions. The label is what a page shows; only the id counts.

``<@U:id|label>`` is a person, ``<@G:id|label>`` a group, ``<@M:id|label>`` a model, ``<#C:id|label>`` a channel.
"""

import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

MENTIONS_MAX: Final = 50  # different ones of a message; more of them count for nothing
MENTION: Final = re.compile(r"<([@#])([UGMC]):([^|<>\n]{1,256})(?:\|([^<>\n]{0,256}))?>")


class Mentions(msgspec.Struct, frozen=True):
    """Each once, in the order of the text."""

    user_ids: Sequence[UUID] = ()
    group_ids: Sequence[UUID] = ()
    models: Sequence[str] = ()
    channel_ids: Sequence[UUID] = ()

    @property
    def are_of_people(self) -> bool:
        return bool(self.user_ids or self.group_ids)

    def of_people_besides(self, others: "Mentions") -> "Mentions":
        """The people and groups that the others do not have."""
        return Mentions(
            tuple(one for one in self.user_ids if one not in others.user_ids),
            tuple(one for one in self.group_ids if one not in others.group_ids),
        )


def mentions_in(text: str) -> Mentions:
    """What is no id of its kind mentions nothing."""
    found: dict[str, dict[object, None]] = {"U": {}, "G": {}, "M": {}, "C": {}}
    for mark, kind, name, _ in MENTION.findall(text):
        if (mark == "#") != (kind == "C") or sum(map(len, found.values())) >= MENTIONS_MAX:
            continue
        if kind == "M":
            found[kind][name] = None
        elif (known := uuid_of(name)) is not None:
            found[kind][known] = None
    return Mentions(*(tuple(found[kind]) for kind in "UGMC"))  # type: ignore[arg-type]


NO_MENTIONS: Final = Mentions()


def mentions_of(content: object) -> Mentions:
    """What a message's content mentions: what is no text mentions nothing."""
    return mentions_in(content) if isinstance(content, str) and ("<@" in content or "<#" in content) else NO_MENTIONS


def without_markup(text: str, *, models: bool = True) -> str:
    """The text as a model or a terminal reads it: ``@label``. With ``models`` false the mentions of models are left out altogether."""

    def plain(found: re.Match[str]) -> str:
        mark, kind, name, label = found.groups()
        if (mark == "#") != (kind == "C"):
            return found.group()
        return "" if kind == "M" and not models else f"{mark}{label or name}"

    return MENTION.sub(plain, text).strip() if not models else MENTION.sub(plain, text)


def uuid_of(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
