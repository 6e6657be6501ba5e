"""Older functions ask models from here."""

from adapters.functions.compat.open_webui.utils.chat import generate_chat_completion

generate_chat_completions = generate_chat_completion
chat_completion = generate_chat_completion
