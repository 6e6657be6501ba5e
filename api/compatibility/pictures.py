"""Pictures of accounts and models: the one that an account has, or its initials."""

import base64
import binascii
import colorsys
import hashlib
import html
import re
from typing import Final
from uuid import UUID

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from api.request.caller import Caller
from commands.accounts.accounts import Accounts
from commands.routing.editing import ModelEditor
from domain.errors import ModelEntryNotFound

# What a browser shows and never runs: an SVG of somebody else's could hold a script.
DATA_URL: Final = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,(.*)", re.DOTALL)
HEADERS: Final = {
    "cache-control": "private, max-age=300",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'",
}


class PicturesController(Controller):
    path = "/api/v1"
    tags = ("accounts",)

    @get("/users/{user_id:uuid}/profile/image")
    async def of_user(self, user_id: FromPath[UUID], accounts: NamedDependency[Accounts]) -> Response[bytes] | Redirect:
        """The picture of an account: its own, or its initials."""
        account = await accounts.existing(user_id)
        return picture(str(account.fields.get("profile_image_url") or ""), account.name)

    @get("/models/model/profile/image")
    async def of_model(
        self,
        caller: NamedDependency[Caller],
        model_editor: NamedDependency[ModelEditor],
        id: FromQuery[str] = "",  # as it is called in the address
    ) -> Response[bytes] | Redirect:
        """The picture of a model: its own, if the caller may use it and it has one, or its initials."""
        try:
            entry = (await model_editor.existing(id, caller.actor)).state
        except ModelEntryNotFound:
            return initials(id)
        return picture(str(entry.meta.get("profile_image_url") or ""), entry.name)


def picture(url: str, name: str) -> Response[bytes] | Redirect:
    """What the address says, or the initials of the name where it says nothing that a browser may show."""
    if url.startswith(("http://", "https://")):
        return Redirect(url, status_code=302, headers={"cache-control": "no-store"})
    given = DATA_URL.fullmatch(url)
    if given is not None:
        try:
            return Response(base64.b64decode(given[2], validate=True), media_type=given[1], headers=HEADERS)
        except binascii.Error:
            pass
    return initials(name)


def initials(name: str) -> Response[bytes]:
    """One or two letters on a colour that follows from the name."""
    words = re.findall(r"\w+", name)
    letters = "".join(word[0] for word in words[:2]).upper() or "?"
    hue = hashlib.sha256(name.encode(errors="replace")).digest()[0] / 256
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, 0.38, 0.45))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96" role="img">'
        f'<rect width="96" height="96" fill="rgb({red},{green},{blue})"/>'
        '<text x="48" y="50" fill="#fff" font-family="sans-serif" font-size="40" text-anchor="middle" dominant-baseline="central">'
        f"{html.escape(letters)}</text></svg>"
    )
    return Response(svg.encode(errors="replace"), media_type="image/svg+xml", headers=HEADERS)
