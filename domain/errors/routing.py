"""Models, and who answers for them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from domain.errors.kinds import Refusal, Unavailable


class ModelNotFound(Refusal):
    code = "model_not_found"

    def __init__(self, model: str, *, base_model_id: str | None = None) -> None:
        self.model = model
        why = f", since the model that it stands on is not there: {base_model_id[:200]}" if base_model_id is not None else ""
        super().__init__(f"Model not found: {model[:200]}{why}")


class ModelEntryNotFound(Refusal):
    """There is no entry of that model, or it is not for this caller to see or change: the two look alike."""

    code = "model_entry_not_found"

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        super().__init__(f"there is no entry of a model {model_id[:200]!r} that you may see or change")


class ModelExists(Refusal):
    code = "model_exists"

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        super().__init__(f"the id {model_id[:200]!r} is that of another model already")


class ArenaEmpty(Refusal):
    code = "arena_empty"

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(f"the arena {model[:200]!r} has no model that you may use and that can be asked now")


class ProviderNotFound(Refusal):
    code = "provider_not_found"

    def __init__(self, provider_id: UUID) -> None:
        self.provider_id = provider_id
        super().__init__(f"there is no provider {provider_id}")


class ProviderFailed(Unavailable):
    """``code`` is an instance attribute here: what the provider did (``provider_status``, ``provider_idle`` …).

    Its text and ``said`` are for everybody who reads the chat: they name no address and nothing of a key. ``private`` is the same for the
    server's log, with the address.

    ``said`` is the provider's own refusal, where it gave one: ``status`` (HTTP), ``code``, ``type``, ``param`` and ``message`` as it named
    them, ``retry_after`` as its header had it. What it did not say is left out.
    """

    code = "provider_failed"

    def __init__(self, code: str, detail: str, said: Mapping[str, Any] | None = None, *, private: str = "") -> None:
        self.private = private or detail
        self.code = code  # type: ignore[misc]  # the one class whose fact has several names
        self.said = said or {}
        super().__init__(detail)


class PipelineFailed(ProviderFailed):
    """A server of pipelines refuses a question, or a pipeline returned what is no body. ``said`` is ``status`` and ``message``."""

    code = "pipeline_failed"

    def __init__(self, pipeline_id: str, detail: str, said: Mapping[str, Any] | None = None, *, private: str = "") -> None:
        super().__init__(self.code, f"pipeline {pipeline_id[:200]}: {detail}", said, private=private)


class FilterRefused(Unavailable):
    """A filter chose a model that the one who asks cannot ask."""

    code = "filter_refused"

    def __init__(self, model: str, refusal: Refusal) -> None:
        self.model = model
        super().__init__(f"a filter chose the model {model[:200]!r}: {refusal}")
