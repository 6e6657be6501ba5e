"""The settings that a model is asked with, from every place where they stand: the server's, the model's, the chat's, the request's."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from commands.generation.context import SYSTEM_ROLES, Message
from commands.providers.provider import ProviderRequest
from commands.routing.route import Layer


class ModelSettings(msgspec.Struct, frozen=True):
    """What the operator has set: for all models, and for single ones by their public id. Both hold ``params``."""

    default: Layer = {}
    by_model: Mapping[str, Layer] = {}


NO_SETTINGS: Final = ModelSettings()
NOTHING: Final[Layer] = {}


class Asked(msgspec.Struct, frozen=True):
    """``options`` have the reference's names: an adapter takes those that its provider knows. ``custom`` go to any provider."""

    systems: Sequence[str]  # the system prompts of the model, of the chat's folder, and of the chat
    options: Mapping[str, Any]
    custom: Mapping[str, Any]
    reasoning_tags: Any = None  # which tags mark reasoning in a text, as in ``reasoning_tags.py``


VARIABLE: Final = re.compile(r"\{\{[^{}]{1,100}\}\}")
# Settings of the page, and those that are applied here.
OWN_NAMES: Final = frozenset(
    {"system", "custom_params", "stream_response", "stream_delta_chunk_size", "function_calling", "reasoning_tags", "tool_approval_mode"}
)


def asked(
    settings: ModelSettings,
    model: str,
    chat: Layer,
    request: Layer,
    *,
    base_model_id: str | None = None,
    entry: Layer = NOTHING,
    folder: str = "",
    variables: Mapping[str, Any] | None = None,
) -> Asked:
    """Of one name the later place counts: default, model, chat, request. ``custom_params`` are merged key by key.

    The system prompts of the model, of the chat's folder and of the chat all hold, in this order. ``variables`` are filled into them.
    ``entry`` is what people have set for the model, above what the operator has; of a custom model the operator's settings of
    ``base_model_id`` count first.
    """
    of_base = settings.by_model.get(base_model_id, {}) if base_model_id is not None else {}
    of_model = (settings.default, of_base, settings.by_model.get(model, {}), as_typed(entry))
    of_chat = (as_typed(chat), request)
    options: dict[str, Any] = {}
    custom: dict[str, Any] = {}
    for layer in (*of_model, *of_chat):
        options |= {name: value for name, value in layer.items() if name not in OWN_NAMES and value is not None}
        more = layer.get("custom_params")
        custom |= {name: parsed(value) for name, value in more.items()} if isinstance(more, Mapping) else {}
    systems = [prompt for prompt in (last_system(of_model), folder.strip() and folder, last_system(of_chat)) if prompt]
    tags = [layer["reasoning_tags"] for layer in (*of_model, *of_chat) if layer.get("reasoning_tags") is not None]
    prompts = list(dict.fromkeys(filled(prompt, variables or {}) for prompt in systems))
    return Asked(prompts, options, custom, tags[-1] if tags else None)


def with_other_settings(ask: ProviderRequest, old: Asked, new: Asked) -> ProviderRequest:
    """``ask``, which was made with ``old``, for another model: with ``new``, but for what a filter has changed in it since."""
    changed = {name: value for name, value in ask.options.items() if name not in old.options or old.options[name] != value}
    params = {name: value for name, value in ask.params.items() if name not in old.custom or old.custom[name] != value}
    return msgspec.structs.replace(
        ask,
        messages=with_systems(new.systems, ask.messages),
        options={**new.options, **changed},
        params={**new.custom, **params},
    )


def last_system(layers: Sequence[Layer]) -> str:
    prompts = [layer["system"] for layer in layers if isinstance(layer.get("system"), str) and layer["system"].strip()]
    return prompts[-1] if prompts else ""


def filled(prompt: str, variables: Mapping[str, Any]) -> str:
    """The prompt with each ``{{NAME}}`` that is among the variables replaced, as pages write them: with the braces in the name.

    What a variable says is not looked into again, and a name that is not among them stays.
    """
    return VARIABLE.sub(lambda found: said if isinstance(said := variables.get(found[0]), str) else found[0], prompt)


def with_variables(messages: Sequence[Message], variables: Mapping[str, Any]) -> Sequence[Message]:
    """The messages with the variables filled into the system prompts among them."""
    if not variables:
        return messages
    return [
        {**message, "content": filled(message["content"], variables)}
        if message["role"] in SYSTEM_ROLES and isinstance(message.get("content"), str)
        else message
        for message in messages
    ]


def parsed(value: Any) -> Any:
    """A text that is JSON as what it says; any other value as it is."""
    if isinstance(value, str):
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value
    return value


def as_typed(chat: Layer) -> Layer:
    """A chat and a model keep what their user typed: stop sequences with commas between them, biases as ``token:bias``."""
    typed = dict(chat)
    if isinstance(stop := typed.get("stop"), str):
        typed["stop"] = [one.strip() for one in stop.split(",") if one.strip()] or None
    if isinstance(biases := typed.get("logit_bias"), str):
        pairs = [one.rpartition(":") for one in biases.split(",")]
        typed["logit_bias"] = {token.strip(): int(bias) for token, _, bias in pairs if bias.strip().lstrip("+-").isdecimal()} or None
    return typed


def with_systems(systems: Sequence[str], messages: Sequence[Message]) -> list[Message]:
    """One system message at the top, with these prompts before its own words; a prompt that it holds already is not repeated."""
    own = messages[0] if messages and messages[0]["role"] in SYSTEM_ROLES else None
    content = own.get("content") if own is not None else None
    known = content if isinstance(content, str) else "".join(text_parts(content))
    new = [prompt for prompt in systems if prompt not in known]
    if not new:
        return [*messages]
    said: Any = "\n\n".join([*new, content] if isinstance(content, str) and content else new)
    if isinstance(content, list):
        said = [{"type": "text", "text": f"{said}\n\n"}, *content]
    return [{**(own or {"role": "system"}), "content": said}, *(messages if own is None else messages[1:])]


def text_parts(content: Any) -> list[str]:
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
