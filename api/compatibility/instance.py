"""``/api/config`` and ``/api/version``: what this server is and which features it has, before anybody signs in."""

from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from api.request.authentication import PUBLIC
from api.settings import Settings
from api.version import VERSION
from commands.accounts.registration import Registration

NAME: Final = "Stenograph"
PAGE_NAME: Final = "Open WebUI"  # what its page calls itself: its licence lets nobody rename it


class VersionOut(msgspec.Struct):
    version: str
    deployment_id: str  # changes when clients have to load everything again


class InstanceController(Controller):
    path = "/api"
    tags = ("operation",)

    @get("/config", opt={PUBLIC: True})
    async def config(
        self,
        registration: NamedDependency[Registration],
        settings: NamedDependency[SkipValidation[Settings]],
    ) -> dict[str, Any]:
        """The name, the version, and which features there are. ``onboarding``: there is no account yet."""
        features = {
            "auth": True,
            "enable_signup": registration.signup_enabled,
            "enable_login_form": True,
            "enable_websocket": True,
            "enable_api_keys": True,
            "enable_folders": True,
            "enable_message_rating": True,
            "enable_channels": True,
            "enable_direct_connections": settings.direct_connections,
            **dict.fromkeys(("enable_notes", "enable_web_search", "enable_code_execution", "enable_image_generation"), False),
        }
        name = NAME if settings.front_end is None else PAGE_NAME
        onboarding = {"onboarding": True} if await registration.is_new() else {}
        return {"status": True, "name": name, "version": VERSION, "default_locale": "", "features": features, **onboarding}

    @get("/version", opt={PUBLIC: True})
    async def version(self, epoch: NamedDependency[UUID]) -> VersionOut:
        """The version. ``deployment_id`` is another one after an upgrade, and after a restore from a backup."""
        return VersionOut(VERSION, f"{VERSION}+{epoch}")
