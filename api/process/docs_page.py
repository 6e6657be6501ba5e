"""``/docs``: the description of the API as a page. All of its files come from this server, so it works without a network."""

import base64
import hashlib
from typing import Any, Final

from litestar import Request
from litestar.datastructures.headers import CacheControlHeader
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.router import Router
from litestar.static_files import create_static_files_router
from litestar.types import HTTPResponseStartEvent, Message, Scope
from swagger_ui_bundle import swagger_ui_path

from api.request.file_names import require_file_name

PATH: Final = "/docs"
ASSETS: Final = f"{PATH}/assets"
START: Final = """
window.ui = SwaggerUIBundle({url: "/docs/openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset]});
"""
PAGE: Final = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Stenograph</title>
<link rel="stylesheet" href="{ASSETS}/swagger-ui.css">
<link rel="icon" href="{ASSETS}/favicon-32x32.png">
</head>
<body>
<div id="page"></div>
<script src="{ASSETS}/swagger-ui-bundle.js"></script>
<script src="{ASSETS}/swagger-ui-standalone-preset.js"></script>
<script>{START}</script>
</body>
</html>
"""
# The one script in the page is named by its hash. Swagger UI sets styles on its elements, and draws its icons from data: addresses.
START_SHA256: Final = base64.b64encode(hashlib.sha256(START.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; script-src 'self' 'sha256-{START_SHA256}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
ASSETS_KEPT_S: Final = 3600


class DocsPage(OpenAPIRenderPlugin):
    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return PAGE.encode()


def docs_assets() -> Router:
    """Swagger UI's own files, as its package holds them."""
    return create_static_files_router(
        ASSETS,
        [swagger_ui_path],
        include_in_schema=False,
        guards=[require_file_name],
        cache_control=CacheControlHeader(public=True, max_age=ASSETS_KEPT_S),
    )


async def send_docs_policy(message: Message, scope: Scope) -> None:
    """Litestar's ``before_send``, before that of the other headers: the page may run its own scripts."""
    if message["type"] == "http.response.start" and scope["path"].rstrip("/") == PATH:
        start: HTTPResponseStartEvent = message
        start["headers"] = [*start["headers"], (b"content-security-policy", POLICY.encode())]
