"""Continuing an answer that was cut off: the new answer stands beside it, begins with its text, and the model goes on from there."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from commands.generation.context import SYSTEM_ROLES, Message, sendable, with_branch, without_stored_keys
from domain.chat.state import Chat, MessageNode
from domain.errors import BadRequest, GenerationOpen, MessageNotFound


def continued_node(chat: Chat, message_id: UUID) -> MessageNode:
    """Raises ``MessageNotFound``, ``BadRequest`` where the message is no answer, ``GenerationOpen`` where it is still being written."""
    node = chat.messages.get(message_id)
    if node is None or node.deleted:
        raise MessageNotFound(message_id)
    if node.role != "assistant":
        raise BadRequest(f"expected an answer to continue, received message {message_id} of role {node.role}")
    if message_id in chat.open_generations:
        raise GenerationOpen(message_id)
    return node


def continued_messages(sent: Sequence[Mapping[str, Any]], branch: Sequence[Message], message_id: UUID) -> tuple[list[Message], str]:
    """What the model is sent, and the text that the new answer begins with.

    ``branch`` ends in the answer that is continued: a provider that is asked with an answer as the last message goes on from it. Of what
    the caller has sent, system prompts count alone.
    """
    said = branch[-1]["content"] if branch and branch[-1]["role"] == "assistant" else ""
    if not isinstance(said, str) or not said:
        raise BadRequest(f"expected an answer with text to continue, message {message_id} has none: ask its question again instead")
    systems = [message for message in without_stored_keys(sent) if message["role"] in SYSTEM_ROLES]
    return sendable(with_branch(systems, branch)), said
