"""Models as Anthropic lists them. Source: https://docs.anthropic.com/en/api/models-list."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from commands.providers.provider import Model

YEAR_9999_S: Final = 253_370_764_800  # a provider may say anything


def anthropic_list(models: Sequence[Model]) -> dict[str, Any]:
    """All on one page."""
    first, last = (models[0].id, models[-1].id) if models else (None, None)
    return {"data": [anthropic_listed(model) for model in models], "first_id": first, "last_id": last, "has_more": False}


def anthropic_listed(model: Model) -> dict[str, Any]:
    created_at = datetime.fromtimestamp(min(max(model.created, 0), YEAR_9999_S), UTC).isoformat()
    return {"type": "model", "id": model.id, "display_name": model.name, "created_at": created_at}
