"""Names of tasks, and a few texts."""

from enum import Enum
from typing import Any


class TASKS(str, Enum):  # noqa: UP042 - as in Open WebUI: str() of a member gives its value
    DEFAULT = "default"
    TITLE_GENERATION = "title_generation"
    FOLLOW_UP_GENERATION = "follow_up_generation"
    TAGS_GENERATION = "tags_generation"
    EMOJI_GENERATION = "emoji_generation"
    QUERY_GENERATION = "query_generation"
    IMAGE_PROMPT_GENERATION = "image_prompt_generation"
    AUTOCOMPLETE_GENERATION = "autocomplete_generation"
    FUNCTION_CALLING = "function_calling"
    MOA_RESPONSE_GENERATION = "moa_response_generation"

    def __str__(self) -> str:
        return str(self.value)


class ERROR_MESSAGES(str, Enum):  # noqa: UP042 - as in Open WebUI
    DEFAULT = "Something went wrong"
    NOT_FOUND = "Not found"
    UNAUTHORIZED = "Unauthorized"
    ACCESS_PROHIBITED = "Access prohibited"
    INVALID_TOKEN = "Invalid token"  # noqa: S105 - a text
    MODEL_NOT_FOUND = "Model not found"

    def __str__(self) -> str:
        return str(self.value)

    def __call__(self, more: Any = "") -> str:
        return f"{self.value}: {more}" if more else str(self.value)
