"""``/`` where no front end is served: what this server is, and where to go on."""

from typing import Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import SkipValidation

from api.request.authentication import PUBLIC
from api.settings import Settings

STYLE: Final = "body{font:1rem/1.6 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem;color:#222;background:#fff}"
DARK: Final = "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}a{color:#8ab4f8}}"
PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Stenograph</title><style>{style}</style></head>
<body>
<h1>Stenograph</h1>
<p>This is a chat backend. It keeps every message and every token of every answer, and it runs.</p>
<ul>
<li>Is it healthy? <a href="/ready">/ready</a></li>
{docs}<li>A conversation in the terminal: <code>steno chat</code></li>
<li>Open WebUI's page in this place: <code>steno front-end install</code>, then start the server again</li>
</ul>
</body>
</html>
"""
DOCS: Final = '<li>The API, described: <a href="/docs">/docs</a></li>\n'
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def front_page() -> HTTPRouteHandler:
    @get("/", opt={PUBLIC: True}, include_in_schema=False)
    async def front(settings: NamedDependency[SkipValidation[Settings]]) -> Response[str]:
        page = PAGE.format(style=STYLE + DARK, docs=DOCS if settings.docs_public else "")
        return Response(page, media_type="text/html", headers={"content-security-policy": POLICY})

    return front
