"""The OpenAPI description: what Litestar reads off the handlers, with the refusals and the sign-in that it cannot see there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from litestar import Litestar
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import OpenAPI
from litestar.routes import HTTPRoute

from api.process.docs_page import PATH, DocsPage
from api.request import anthropic_errors, openai_errors
from api.request.authentication import COOKIE, KEY_HEADER, PUBLIC
from api.version import VERSION

METHODS: Final = frozenset({"get", "post", "put", "patch", "delete"})
TEXT: Final = {"type": "string"}
PROBLEM: Final = {
    "type": "object",
    "description": "RFC 9457. Some codes have further members: see docs/reference/http.md.",
    "properties": {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT, "code": TEXT},
    "required": ["type", "title", "status", "detail", "code"],
}
OPENAI_ERROR: Final = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {"message": TEXT, "type": TEXT, "param": {"type": ["string", "null"]}, "code": {"type": ["string", "null"]}},
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
ANTHROPIC_ERROR: Final = {
    "type": "object",
    "properties": {
        "type": {"const": "error"},
        "error": {"type": "object", "properties": {"type": TEXT, "message": TEXT}, "required": ["type", "message"]},
    },
    "required": ["type", "error"],
}
SECURITY: Final = {
    "token": {"type": "http", "scheme": "bearer", "description": "A session token, or an API key (`sk-…`)."},
    "key": {"type": "apiKey", "in": "header", "name": KEY_HEADER, "description": "The same, as Anthropic's clients send it."},
    "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "The session of a browser, from this server's own pages."},
}
DESCRIPTION: Final = (
    "An event-sourced chat backend. Every response to a command carries the `version` of its stream, to subscribe from, and a `position` "
    "of the log, which lists take as `at_least`. Errors are problems (RFC 9457) with a stable `code`; below `/v1` and `/openai` they have "
    "OpenAI's shape, below `/v1/messages` Anthropic's."
)
# What Litestar cannot see: routes that answer in other media types than JSON, and bodies whose unknown keys count.
EVENT_STREAM: Final = "text/event-stream"
PICTURES: Final = ("image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp")
ALSO_SENT: Final[Mapping[str, Sequence[str]]] = {
    "/api/v1/channels/webhooks/{webhook_id}/profile/image": PICTURES[:1],
    "/api/v1/chats/stats/export": ("application/x-ndjson",),
    "/api/v1/chats/{chat_id}/export": ("application/x-ndjson", "text/markdown", "text/html"),
    "/api/v1/models/model/profile/image": PICTURES[:1],
    "/api/v1/streams/{kind}/{stream_id}/blobs/{sha256}": ("application/octet-stream", "text/plain"),
    "/api/v1/streams/{kind}/{stream_id}/events": (EVENT_STREAM,),
    "/api/v1/users/{user_id}/profile/image": PICTURES,
    "/metrics": ("text/plain",),
    "/v1/completions": (EVENT_STREAM,),
    "/v1/messages": (EVENT_STREAM,),
    "/v1/responses": (EVENT_STREAM,),
    "/v1/responses/{response_id}": (EVENT_STREAM,),
}
COMPLETIONS: Final = ("/api/chat/completions", "/api/v1/chat/completions", "/v1/chat/completions", "/openai/chat/completions")
MESSAGE: Final = {
    "type": "object",
    "properties": {"role": {"enum": ["system", "developer", "user", "assistant", "tool", "function"]}, "content": {}},
    "required": ["role"],
}
COMPLETION: Final = {
    "type": "object",
    "description": "As OpenAI's, and Open WebUI's keys below `/api`. Keys that are not named here go to the provider as they are.",
    "properties": {
        "model": TEXT,
        "messages": {"type": "array", "items": MESSAGE},
        "stream": {"type": "boolean"},
        "n": {"type": "integer", "minimum": 1},
        "temperature": {"type": "number"},
        "chat_id": TEXT,
        "session_id": TEXT,
        "parent_id": TEXT,
        "id": TEXT,
    },
    "additionalProperties": True,
}


def refusal(description: str, media_type: str, schema: str) -> dict[str, Any]:
    header = {"description": "names the request in the server's log", "schema": TEXT}
    return {
        "description": description,
        "headers": {"x-request-id": header},
        "content": {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


REFUSALS: Final = {
    "Refused": refusal("Refused, or not possible now: `code` says why.", "application/problem+json", "Problem"),
    "RefusedByAnthropic": refusal("Refused, or not possible now, in Anthropic's shape.", "application/json", "AnthropicError"),
    "RefusedByOpenAI": refusal("Refused, or not possible now, in OpenAI's shape.", "application/json", "OpenAIError"),
}


@dataclass
class Description(OpenAPI):
    """``public``: the routes that need no sign-in, as ``(method, path)``."""

    public: frozenset[tuple[str, str]] = frozenset()

    def to_schema(self) -> dict[str, Any]:
        schema = super().to_schema()
        del schema["public"]
        schema["paths"] = with_any_of(schema["paths"])
        for path, item in schema["paths"].items():
            for method in METHODS & item.keys():
                complete(item[method], path, is_public=(method, path) in self.public)
        components = schema.setdefault("components", {})
        components.setdefault("schemas", {}).update({"Problem": PROBLEM, "OpenAIError": OPENAI_ERROR, "AnthropicError": ANTHROPIC_ERROR})
        components.update({"responses": REFUSALS, "securitySchemes": SECURITY})
        schema["security"] = [{name: []} for name in SECURITY]
        return schema


def complete(operation: dict[str, Any], path: str, *, is_public: bool) -> None:
    """Name the refusals of a route, and whether it needs a sign-in."""
    name = refusal_of(path)
    named: dict[str, Any] = {status: operation["responses"][status] for status in operation["responses"] if status < "400"}
    refused = {"$ref": f"#/components/responses/{name}"}
    has_input = operation.get("parameters") or operation.get("requestBody")
    statuses = [*(["400"] if has_input else []), *([] if is_public else ["401", "403"]), *(["404"] if "{" in path else [])]
    operation["responses"] = {**named, **dict.fromkeys(statuses, refused), "default": refused}
    if is_public:
        operation["security"] = []
    sent = named["200"].setdefault("content", {}) if "200" in named else {}
    if path in COMPLETIONS:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": COMPLETION}}}
        sent[EVENT_STREAM] = {"schema": TEXT}
    for media_type in ALSO_SENT.get(path, ()):
        sent[media_type] = {"schema": TEXT}


def refusal_of(path: str) -> str:
    """The name of the refusals of a route, in the shape of its dialect."""
    if anthropic_errors.is_spoken(path, {}):
        return "RefusedByAnthropic"
    return "RefusedByOpenAI" if openai_errors.is_spoken(path) else "Refused"


def with_any_of(schema: Any) -> Any:
    """The same with ``anyOf`` for ``oneOf``: a value may well match two of the types of a union."""
    if isinstance(schema, dict):
        return {"anyOf" if key == "oneOf" else key: with_any_of(value) for key, value in schema.items()}
    return [with_any_of(one) for one in schema] if isinstance(schema, list) else schema


class DescriptionConfig(OpenAPIConfig):
    def to_openapi_schema(self) -> Description:
        made = super().to_openapi_schema()
        return Description(**{name: getattr(made, name) for name in made.__dataclass_fields__}, public=self.public)

    public: frozenset[tuple[str, str]] = frozenset()


def openapi_config() -> DescriptionConfig:
    return DescriptionConfig(
        title="Stenograph",
        version=VERSION,
        description=DESCRIPTION,
        path=PATH,
        use_handler_docstrings=True,
        render_plugins=[DocsPage()],
    )


def public_routes(app: Litestar) -> frozenset[tuple[str, str]]:
    """The routes that need no sign-in."""
    return frozenset(
        (method.lower(), route.path_format)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if handler.opt.get(PUBLIC)
        for method in handler.http_methods
    )
