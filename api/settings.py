"""What an operator can set, in the environment or in a ``stenograph.toml``.

``Settings`` is the one table of it: a field's name is its key in the file, ``STENO_`` and the name in capitals its variable
(``DATABASE_URL`` alone has no prefix), its type and bounds what is accepted, its description what ``docs/configuration.md`` says.
``python -m api.settings`` prints that page's table; a test holds the two together. ``settings_loading.py`` reads them.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import msgspec
from msgspec import Meta

from api.settings_forms import ProxyUrl, Url, form_of, unwrapped

FILE_VARIABLE = "STENO_CONFIG"
# Variables of ours that are no setting of the server.
OTHER_VARIABLES = {FILE_VARIABLE: "The settings' file, when it is not `./stenograph.toml`."}
# A proxy's address may hold a password; of a provider its key and headers are secret.
SECRET_NAMES = frozenset({"secret", "database_url", "openai_api_keys", "openai_proxies", "ollama_proxies", "pipelines_keys", "providers"})
# Networks that only programs of a machine or of its cloud have anything to ask in: link-local addresses with the metadata services,
# "this network", multicast, and the addresses at which Alibaba, Azure, Oracle and AWS answer their machines.
REFUSED_NETWORKS = (
    *("169.254.0.0/16", "fe80::/10", "0.0.0.0/8", "::/128", "224.0.0.0/4", "ff00::/8"),
    *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::/32"),
)

# Where no public service is: this machine, private networks, and what is reserved.
PRIVATE_NETWORKS = (
    *REFUSED_NETWORKS,
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4"),
    *("::1/128", "fc00::/7"),
)

# Lists that say something of each server in another list, and what.
OF_SERVERS = {
    "openai_api_keys": ("openai_base_urls", "keys"),
    "openai_models": ("openai_base_urls", "lists of models"),
    "openai_proxies": ("openai_base_urls", "proxies"),
    "ollama_proxies": ("ollama_base_urls", "proxies"),
    "pipelines_keys": ("pipelines_urls", "keys"),
}

# What an entry of ``providers`` may hold beside the fields of domain/routing/provider.py.
PROVIDER_KEYS: Mapping[str, Any] = {"kind": str, "api_key": str, "headers": dict[str, str], "proxy": str, "enabled": bool}

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
SECRET_CHARACTERS_MIN = 32  # RFC 7518 §3.2: a key for HS256 has at least 256 bits


class SettingsError(ValueError):
    """Settings that cannot be used; the text has one line for each problem, and ``problems`` the same as a list."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class OpenAIEndpoint(NamedTuple):
    """One OpenAI-compatible server. Without ``models`` it is asked for them."""

    base_url: str
    api_key: str | None
    models: Sequence[str] = ()
    proxy: str | None = None


class OllamaEndpoint(NamedTuple):
    base_url: str
    proxy: str | None = None


class PipelinesEndpoint(NamedTuple):
    """One server of pipelines."""

    url: str
    api_key: str | None


def default_data_folder() -> Path:
    """Root's is under /var/lib: Postgres runs as another user there, which /root keeps out."""
    if os.geteuid() == 0:
        return Path("/var/lib/stenograph")
    data_home = os.environ.get("XDG_DATA_HOME")
    return (Path(data_home) if data_home else Path.home() / ".local" / "share") / "stenograph"


Bytes = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    # Where
    host: Annotated[str, Meta(min_length=1, description="The address to listen on; `0.0.0.0` lets other machines in.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="The port to listen on; 0 takes any free one.")] = 8080
    data: Annotated[
        Path, Meta(description="The data folder. Default: `/var/lib/stenograph` for root, else `$XDG_DATA_HOME/stenograph`.")
    ] = msgspec.field(default_factory=default_data_folder)
    database_url: Annotated[
        str | None,
        Meta(description="The Postgres to use, as its owner: `postgresql://user:password@host/database`. Unset: one in the data folder."),
    ] = None
    front_end: Annotated[
        Path | None,
        Meta(
            description="The folder of Open WebUI's page, to be served at `/`. Unset: what `steno front-end install` has put into the data "
            "folder, or that of an installed `open-webui`; without either a page that says what this server is."
        ),
    ] = None
    workers: Annotated[int, Meta(ge=1, le=64, description="Server processes on this machine.")] = 1
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="The least that is logged.")] = "info"
    log_format: Annotated[Literal["console", "json"], Meta(description="For people, or one JSON object a line.")] = "console"
    security_log: Annotated[
        Path | None,
        Meta(
            description="The file for the security log, one JSON object a line. "
            "Unset: with everything else that is logged, at the level `info`."
        ),
    ] = None

    # Models
    openai_base_urls: Annotated[tuple[Url, ...], Meta(description="OpenAI-compatible servers, such as `https://api.openai.com/v1`.")] = ()
    openai_api_keys: Annotated[
        tuple[str, ...], Meta(description="Their keys, in the same order; an empty one for a server that needs none.")
    ] = ()
    openai_models: Annotated[
        tuple[str, ...],
        Meta(
            description="Their models, in the same order, with commas between those of one server; an empty one for a server that is "
            "asked for its list. A server whose models stand here is never asked."
        ),
    ] = ()
    openai_proxies: Annotated[
        tuple[ProxyUrl, ...], Meta(description="HTTP proxies to them, in the same order; an empty one for a direct connection.")
    ] = ()
    ollama_base_urls: Annotated[tuple[Url, ...], Meta(description="Ollama servers, such as `http://localhost:11434`.")] = ()
    ollama_proxies: Annotated[tuple[ProxyUrl, ...], Meta(description="HTTP proxies to them, in the same order.")] = ()
    providers: Annotated[
        dict[str, dict[str, Any]],
        Meta(
            description="Servers with everything that can be said of one, below names of your choice: `kind` (`openai`, `ollama`), "
            "`base_url`, `api_key`, `headers`, `proxy`, `prefix_id`, `model_ids`, `tags`, `connection_type`, `enabled`, "
            "`connect_timeout_s`, `first_token_timeout_s`, `idle_timeout_s`, `answer_timeout_s`."
        ),
    ] = {}
    providers_over_http: Annotated[
        bool, Meta(description="Whether admins may add and change providers over HTTP; `false`: only the settings count.")
    ] = True
    provider_refused_networks: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks in which a provider that an admin adds may not be; those of the settings may. Add `127.0.0.0/8` and "
            "`10.0.0.0/8` where admins are not to reach your own machines."
        ),
    ] = REFUSED_NETWORKS
    webhook_refused_networks: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks to which outgoing webhooks of channels send nothing: who manages a channel names their addresses. "
            "Leave one out where services of your own are to be told."
        ),
    ] = PRIVATE_NETWORKS
    pipelines_urls: Annotated[
        tuple[Url, ...],
        Meta(
            description="Servers of `open-webui/pipelines` whose filters change questions and answers, such as `http://localhost:9099`. "
            "Their pipes are asked as models where a server stands among the OpenAI-compatible ones, too."
        ),
    ] = ()
    pipelines_keys: Annotated[tuple[str, ...], Meta(description="Their keys, in the same order; an empty one for a server without.")] = ()
    demo_model: Annotated[bool, Meta(description="Whether the built-in model `demo` is offered.")] = True
    provider_connect_timeout_s: Annotated[Seconds, Meta(description="How long a provider may take to accept a connection.")] = 10.0
    provider_first_token_timeout_s: Annotated[
        Seconds, Meta(description="How long a provider may take from the request to the first token of its answer.")
    ] = 300.0
    provider_idle_timeout_s: Annotated[Seconds, Meta(description="How long a provider may say nothing after its first token.")] = 120.0
    provider_answer_timeout_s: Annotated[
        Seconds, Meta(description="How long a whole answer of a provider may take; one that never ends would run for ever.")
    ] = 3_600.0

    default_params: Annotated[
        dict[str, Any],
        Meta(
            description="Settings of all models, such as `temperature` and `system`. What the model, the chat or the request says "
            "counts above them."
        ),
    ] = {}
    model_params: Annotated[dict[str, dict[str, Any]], Meta(description="The same for single models, below their ids.")] = {}
    model_access: Annotated[
        Literal["open", "granted", "bypass"],
        Meta(
            description="Who may use a provider's model of which no admin has said anything: `open` everybody, `granted` admins "
            "alone, until it is granted. `bypass`: everybody may use every model, whatever was granted."
        ),
    ] = "open"
    keep_payloads: Annotated[
        bool,
        Meta(
            description="Keep what each model was sent as a blob of its chat, for `GET …/messages/{id}/payload`. Readers of the chat can "
            "read it, system prompts included. A long chat is kept again with each question; it does not count against quotas."
        ),
    ] = False

    # Work after an answer
    task_model: Annotated[
        str | None,
        Meta(
            description="The model that is asked for titles, tags and follow-up questions after an answer, where the client wants them. "
            "`current`: the one that has answered. Unset: no model is asked, and a chat is named by the beginning of its first question."
        ),
    ] = None
    task_title: Annotated[bool, Meta(description="Whether the task model is asked for titles.")] = True
    task_tags: Annotated[bool, Meta(description="Whether the task model is asked for tags.")] = True
    task_follow_ups: Annotated[bool, Meta(description="Whether the task model is asked for follow-up questions.")] = True
    task_prompts: Annotated[
        dict[Literal["title", "tags", "follow_ups"], str],
        Meta(
            description="What it is asked instead of the built-in prompts, by `title`, `tags` and `follow_ups`. `{{MESSAGES}}` is the "
            "conversation; without it the conversation follows."
        ),
    ] = {}
    task_runs_max: Annotated[int, Meta(ge=1, description="How many such questions one process asks at once.")] = 4

    # Accounts
    secret: Annotated[
        Annotated[str, Meta(min_length=SECRET_CHARACTERS_MIN)] | None,
        Meta(description="Signs the tokens. Unset: one is generated and kept in the database."),
    ] = None
    token_lifetime_s: Annotated[int, Meta(ge=60, description="How long a sign-in lasts.")] = 7 * 86_400
    signup_enabled: Annotated[
        bool, Meta(description="Whether people may make accounts for themselves; the first account is always allowed and becomes admin.")
    ] = True
    default_role: Annotated[Literal["user", "pending", "auditor", "analyst"], Meta(description="The role of a new account.")] = "user"
    allowed_origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Web origins that may call from a browser, over HTTP and by WebSocket, such as `https://app.example.org`; "
            "`*` for all, then with a bearer token only and never by the session cookie. None: only the server's own."
        ),
    ] = ()

    # Functions
    functions: Annotated[
        Path | None,
        Meta(description="A folder of functions (pipes, filters, actions): each `.py` file in it is one. It is looked at every 2 s."),
    ] = None
    function_timeout_s: Annotated[
        Seconds,
        Meta(
            description="How long one call of a filter or an action may take, not counting what it asks a person; also how long one loads."
        ),
    ] = 60.0
    function_pipe_timeout_s: Annotated[Seconds, Meta(description="How long a pipe may be silent.")] = 300.0
    function_threads: Annotated[
        int, Meta(ge=1, le=1024, description="Threads for functions that are not asynchronous; as many again for pipes.")
    ] = 32

    # Behind a proxy
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses or networks of proxies, such as `127.0.0.1` or `10.0.0.0/8`, whose `X-Forwarded-For` and "
            "`X-Forwarded-Proto` are believed. None: nobody's; then all people behind a proxy share one limit on guesses."
        ),
    ] = ()
    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Host names under which the server may be asked for, such as `chat.example.org` or `*.example.org`; "
            "any other gets 421, except `/health` and `/ready`. None: every name."
        ),
    ] = ()
    # What is served without a sign-in
    metrics_public: Annotated[bool, Meta(description="Whether anyone may read `/metrics`; `false`: only admins, by token or API key.")] = (
        True
    )
    usage_public: Annotated[
        bool, Meta(description="Whether every account may read `/api/usage`: how many accounts are active, and which models answer.")
    ] = True
    otel_endpoint: Annotated[
        Url | None,
        Meta(
            description="Where traces and metrics of generations go by OpenTelemetry, as OTLP over HTTP: `http://127.0.0.1:4318`. "
            "OpenTelemetry's own variables set the rest, such as `OTEL_EXPORTER_OTLP_HEADERS`. Needs `stenograph[otel]`. Unset: nowhere."
        ),
    ] = None
    docs_public: Annotated[bool, Meta(description="Whether `/docs`, the description of the API, is served.")] = True

    # Live connections
    frame_in_bytes: Annotated[Bytes, Meta(description="The largest frame a client may send.")] = 64 * KIB
    frame_out_bytes: Annotated[Bytes, Meta(description="The size at which a frame to a client is full.")] = 512 * KIB
    subscriptions_max: Annotated[int, Meta(ge=1, description="Streams that one connection may follow.")] = 1000
    connections_per_user_max: Annotated[int, Meta(ge=1, description="Live connections that one account may have to one process.")] = 32
    ping_interval_s: Annotated[Seconds, Meta(description="How often a connection is asked whether it still lives.")] = 25.0
    pong_timeout_s: Annotated[Seconds, Meta(description="How long its answer may take.")] = 20.0
    send_stall_s: Annotated[Seconds, Meta(description="How long a client may take nothing of a response before it is cut off.")] = 60.0
    outbound_buffer_bytes: Annotated[Bytes, Meta(description="What may wait for one slow reader before it is served from the log.")] = MIB

    # What a client can make the server hold
    request_line_bytes_max: Annotated[Bytes, Meta(description="The longest URL of a request.")] = 16 * KIB
    head_bytes_max: Annotated[Bytes, Meta(description="The largest head of a request: URL and headers.")] = 64 * KIB
    headers_max: Annotated[int, Meta(ge=8, description="Headers of one request.")] = 100
    head_timeout_s: Annotated[Seconds, Meta(description="How long the head of a request may take, also the first of a connection.")] = 20.0
    body_timeout_s: Annotated[Seconds, Meta(description="How long the body of a request may take for its next 64 KiB.")] = 30.0
    keep_alive_s: Annotated[int, Meta(ge=1, description="How long an unused HTTP connection is kept.")] = 15
    bodies_bytes_max: Annotated[
        int, Meta(ge=MIB, description="What all bodies that one process reads and decodes at the same time may take in its memory.")
    ] = 256 * MIB
    connections_per_address_max: Annotated[
        int, Meta(ge=1, description="Connections of one address to one process; loopback and trusted proxies are not counted.")
    ] = 2048
    sockets_before_hello_max: Annotated[
        int, Meta(ge=1, description="WebSockets of one process that still have to say who they are; the oldest gives way to a new one.")
    ] = 1024
    # What one account may have
    quota_chats: Annotated[int, Meta(ge=1, description="Chats of its own that one account may have in its list.")] = 100_000
    quota_storage_bytes: Annotated[Bytes, Meta(description="What the chats of one account may take, but for deleted ones.")] = 20 * GIB
    quota_bytes_a_day: Annotated[Bytes, Meta(description="What one account may write from midnight to midnight UTC.")] = 2 * GIB
    quota_runs: Annotated[int, Meta(ge=1, description="Answers that one account may have generated at once, in all processes.")] = 64

    # What one chat may hold
    chat_messages_max: Annotated[int, Meta(ge=1, description="Messages that one chat may hold.")] = 100_000
    chat_bytes_max: Annotated[Bytes, Meta(description="What the events of one chat, and the content that they refer to, may take.")] = GIB

    # The log and its readers
    tail_memory_bytes: Annotated[Bytes, Meta(description="Newest events kept in memory for readers, all streams together.")] = 64 * MIB
    folds_kept_max: Annotated[int, Meta(ge=1, description="Streams whose folded state is kept in memory.")] = 2048
    batch_events_max: Annotated[int, Meta(ge=1, le=10_000, description="Events in one append to the log.")] = 1000
    notify_interval_ms: Annotated[
        int, Meta(ge=1, le=10_000, description="The least time between two notifications of typing and presence to other processes.")
    ] = 10
    poll_interval_ms: Annotated[int, Meta(ge=1, le=60_000, description="How often the log is looked at when no bell rings.")] = 250
    lease_s: Annotated[Seconds, Meta(description="How long a silent server counts as alive.")] = 10.0
    drain_s: Annotated[Seconds, Meta(description="How long a server that was told to stop lets answers finish.")] = 10.0
    direct_connections: Annotated[
        bool, Meta(description="Whether a tab may answer for a model of its user's own provider, which the tab calls with its own key.")
    ] = True
    call_timeout_s: Annotated[
        Seconds, Meta(description="How long a function waits for a person's answer where it names no time itself; 24 h at most.")
    ] = 300.0

    @property
    def openai_connections(self) -> tuple[OpenAIEndpoint, ...]:
        urls = self.openai_base_urls
        beside = (_beside(urls, given) for given in (self.openai_api_keys, self.openai_models, self.openai_proxies))
        return tuple(
            OpenAIEndpoint(url, key or None, tuple(filter(None, map(str.strip, models.split(",")))), proxy or None)
            for url, key, models, proxy in zip(urls, *beside, strict=True)
        )

    @property
    def ollama_connections(self) -> tuple[OllamaEndpoint, ...]:
        urls = self.ollama_base_urls
        return tuple(OllamaEndpoint(url, proxy or None) for url, proxy in zip(urls, _beside(urls, self.ollama_proxies), strict=True))

    @property
    def pipelines_connections(self) -> tuple[PipelinesEndpoint, ...]:
        urls = self.pipelines_urls
        return tuple(PipelinesEndpoint(url, key or None) for url, key in zip(urls, _beside(urls, self.pipelines_keys), strict=True))

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, "…" if name in SECRET_NAMES and value else value) for name, value in shown]

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


def _beside(urls: Sequence[str], given: Sequence[str]) -> Sequence[str]:
    """One value for each server; what is missing at the end is empty."""
    return (*given, *[""] * len(urls))[: len(urls)]


def variable_of(name: str) -> str:
    return "DATABASE_URL" if name == "database_url" else f"STENO_{name.upper()}"


TYPES: Mapping[str, Any] = get_type_hints(Settings, include_extras=True)  # by the name of each setting


def markdown_table() -> str:
    """The table of ``docs/configuration.md``."""
    defaults = Settings()
    lines = ["| variable | key in the file | accepted | default | what it does |", "|---|---|---|---|---|"]
    for name, annotation in TYPES.items():
        meaning = next(meta.description for meta in unwrapped(annotation)[1] if meta.description)
        value = None if name == "data" else getattr(defaults, name)  # the data folder's depends on who asks: its text says it
        shown = ";".join(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else value
        default = "" if value in (None, (), {}) else f"`{shown}`"
        lines.append(f"| `{variable_of(name)}` | `{name}` | {form_of(annotation)} | {default} | {meaning} |")
    lines += [f"| `{variable}` | | a path | | {meaning} |" for variable, meaning in OTHER_VARIABLES.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown_table())
