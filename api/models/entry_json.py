"""A model's entry, as the reference shows a model that is stored."""

from typing import Any

from commands.routing.entry import Known
from domain.routing.model import ModelEntry


def entry_json(known: Known[ModelEntry], *, may_write: bool) -> dict[str, Any]:
    """Its settings, with the system prompt, and who else has access are for those who may change it."""
    entry = known.state
    return {
        "id": entry.model_id,
        "user_id": str(entry.owner_id),
        "base_model_id": entry.base_model_id,
        "name": entry.name,
        "params": dict(entry.params) if may_write else {},
        "meta": dict(entry.meta),
        "access_grants": grants_json(entry) if may_write else [],
        "is_active": entry.active,
        "created_at": int(known.created_at.timestamp()),
        "updated_at": int(known.changed_at.timestamp()),
        "version": known.version,
    }


def grants_json(entry: ModelEntry) -> list[dict[str, str]]:
    return [
        {"principal_type": grant.principal_type, "principal_id": grant.principal_id, "permission": grant.permission}
        for grant in entry.grants
    ]
