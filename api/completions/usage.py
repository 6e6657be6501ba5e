"""``/api/usage``: who and what is busy now."""

from typing import Final

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from api.completions.tasks import open_everywhere
from api.settings import Settings
from commands.accounts.principal import Principal, actor_of
from commands.ports import Activity, Nodes
from commands.routing.router import Router
from domain.errors import Forbidden

ACTIVE_S: Final = 180.0  # an account that was seen within it is active


class ModelUsageOut(msgspec.Struct):
    model_ids: list[str]  # that answer now, in any process
    user_count: int  # accounts that are active


class UsageController(Controller):
    path = "/api"
    tags = ("tasks",)

    @get("/usage")
    async def usage(
        self,
        principal: NamedDependency[Principal],
        settings: NamedDependency[Settings],
        nodes: NamedDependency[SkipValidation[Nodes]],
        activity: NamedDependency[SkipValidation[Activity]],
        router: NamedDependency[Router],
    ) -> ModelUsageOut:
        """The models that answer now, and how many accounts are active. Others than admins read of the models that they can ask."""
        if principal.role != "admin" and not settings.usage_public:
            raise Forbidden("only admins may read the usage of this server")
        answering = {generation.model for generation in await open_everywhere(nodes)}
        if principal.role != "admin":
            answering &= {one.id for one in await router.available(actor_of(principal))}
        return ModelUsageOut(sorted(answering), await activity.count_active(ACTIVE_S))
