"""What a model is asked about a conversation, for each kind of task."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from commands.generation.turn import TaskKind

MESSAGES_SHOWN: Final = 12  # the last ones of the conversation
CHARACTERS_SHOWN: Final = 2_000  # of each
PLACE: Final = "{{MESSAGES}}"  # where a prompt wants the conversation; without it the conversation follows the prompt
PROMPTS: Final[Mapping[TaskKind, str]] = {
    "title": 'Name what this conversation is about in two to five words, in its language. Answer with JSON alone: {"title": "the name"}',
    "tags": 'Give one to three broad subjects of this conversation, in its language. Answer with JSON alone: {"tags": ["subject"]}',
    "follow_ups": (
        "Write three to five short questions that the user might ask next, from the user's point of view and in the language of this "
        'conversation. Answer with JSON alone: {"follow_ups": ["question"]}'
    ),
}


def prompt_for(kind: TaskKind, messages: Sequence[Any], prompts: Mapping[TaskKind, str] = PROMPTS) -> str:
    """The prompt with the end of the conversation in it."""
    said = [f"{one.get('role')}: {words_of(one)[:CHARACTERS_SHOWN]}" for one in messages[-MESSAGES_SHOWN:] if isinstance(one, Mapping)]
    conversation = f"<conversation>\n{chr(10).join(said)}\n</conversation>"
    prompt = prompts.get(kind) or PROMPTS[kind]
    return prompt.replace(PLACE, conversation) if PLACE in prompt else f"{prompt}\n\n{conversation}"


def words_of(message: Mapping[str, Any]) -> str:
    """The text of a message, without its pictures."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text")) for part in content if isinstance(part, Mapping) and part.get("type") == "text")
    return content if isinstance(content, str) else ""
