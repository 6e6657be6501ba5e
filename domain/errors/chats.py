"""Chats, their messages and folders, imports and shares."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from domain.errors.kinds import Refusal


class ChatNotFound(Refusal):
    """No such chat, or not for this user: the two are not told apart, so that ids cannot be probed."""

    code = "chat_not_found"

    def __init__(self, chat_id: UUID | str) -> None:
        self.chat_id = chat_id
        super().__init__(f"no chat {chat_id} that you may use")


class ChatToActInNotFound(ChatNotFound):
    """The same where an action or an outlet is asked for in a chat: those routes of the reference have another status for it. One code."""


class MessageNotFound(Refusal):
    code = "message_not_found"

    def __init__(self, message_id: UUID | str) -> None:
        self.message_id = message_id
        super().__init__(f"there is no message {message_id} here")


class ChatExists(Refusal):
    code = "chat_exists"

    def __init__(self, chat_id: UUID) -> None:
        self.chat_id = chat_id
        super().__init__(f"chat {chat_id} exists already")


class MessageExists(Refusal):
    code = "message_exists"

    def __init__(self, message_id: UUID) -> None:
        self.message_id = message_id
        super().__init__(f"message {message_id} exists already")


class ParentNotFound(Refusal):
    code = "parent_not_found"

    def __init__(self, parent_id: UUID) -> None:
        self.parent_id = parent_id
        super().__init__(f"the parent message {parent_id} is not in this chat")


class FolderNotFound(Refusal):
    """The caller has no such folder. The answer is the same for another person's folder, so that ids cannot be probed."""

    code = "folder_not_found"

    def __init__(self, folder_id: UUID | str) -> None:
        self.folder_id = folder_id
        super().__init__(f"no folder {folder_id} among yours")


class FolderExists(Refusal):
    code = "folder_exists"

    def __init__(self, folder_id: UUID) -> None:
        self.folder_id = folder_id
        super().__init__(f"folder {folder_id} exists already")


class FolderNameTaken(Refusal):
    """Names are told apart without regard to case."""

    code = "folder_name_taken"

    def __init__(self, name: str, folder_id: UUID) -> None:
        self.name, self.folder_id = name, folder_id
        super().__init__(f"Folder already exists: {name} ({folder_id}) is in the same place")


class FolderCycle(Refusal):
    code = "folder_cycle"

    def __init__(self, folder_id: UUID, parent_id: UUID | None) -> None:
        self.folder_id, self.parent_id = folder_id, parent_id
        super().__init__(f"folder {folder_id} cannot be moved into {parent_id}, which is itself or below it")


class ChatChanged(Refusal):
    code = "chat_changed"

    def __init__(self, message_id: UUID | None, *, seen: int, current: int) -> None:
        self.message_id, self.seen, self.current = message_id, seen, current
        what = f"message {message_id}" if message_id is not None else "the chat's title or settings"
        super().__init__(f"{what}: expected as of version {seen}, changed at version {current}")


class EditConflict(Refusal):
    """Nothing was written. ``conflicts``: of each message both versions, with what differs and where the server's stands."""

    code = "edit_conflict"

    def __init__(self, conflicts: Sequence[Mapping[str, Any]], *, expected: int | None, current: int) -> None:
        self.conflicts, self.expected, self.current = conflicts, expected, current
        named = ", ".join(str(one["message_id"] or "the chat itself") for one in conflicts[:5])
        more = f" and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
        read = f"version {expected}" if expected is not None else "the copy"
        super().__init__(
            f"somebody else changed what this copy changes, after {read} and before version {current}: {named}{more}; nothing was saved"
        )


class ChatFull(Refusal):
    code = "chat_full"

    def __init__(self, what: str, *, used: int, limit: int) -> None:
        self.what, self.used, self.limit = what, used, limit
        super().__init__(f"a chat holds at most {limit} {what}, this one has {used}")


class ImportRefused(Refusal):
    """``chat`` and ``key`` are the source's own names; the key is a path, such as ``history.messages.ID.parentId``."""

    code = "import_refused"

    def __init__(self, chat: str, key: str, reason: str) -> None:
        self.chat, self.key, self.reason = chat, key, reason
        super().__init__(f"chat {chat[:200]}: {key[:200]}: {reason}")


class ShareRefused(Refusal):
    code = "share_refused"

    def __init__(self) -> None:
        super().__init__("this person takes no shares from you")


class TooManyOffers(Refusal):
    code = "too_many_offers"

    def __init__(self, offers_max: int) -> None:
        self.offers_max = offers_max
        super().__init__(f"this person has {offers_max} shares that they have not looked at: share more once they have")
