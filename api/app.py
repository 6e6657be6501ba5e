"""The routes of one process on its parts, and what each of them is given."""

from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final

from litestar import Controller, Litestar, Router, asgi
from litestar.di import Provide
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from api.accounts.auths import AuthsController
from api.accounts.keys import KeysController, UserKeysController
from api.accounts.sessions import SessionsController, UserSessionsController
from api.accounts.usage import UsageReport
from api.accounts.users import UsersController
from api.analytics.query import AnalyticsQueryController
from api.analytics.reports import AnalyticsController
from api.channels.calls import ChannelCallsController
from api.channels.channels import ChannelController, ChannelsController
from api.channels.exporting import ChannelExportController
from api.channels.messages import ChannelMessagesController
from api.channels.outgoing import OutgoingWebhooksController
from api.channels.past import ChannelPastController
from api.channels.search import ChannelSearchController
from api.channels.webhooks import ChannelWebhooksController, WebhookPostsController
from api.chats.bulk import AllChatsController
from api.chats.calls import CallsController
from api.chats.chat import ChatsController
from api.chats.copying import CopiesController
from api.chats.exporting import ExportsController
from api.chats.folders import FoldersController
from api.chats.importing import ImportController
from api.chats.lists import ChatListController
from api.chats.offers import BlocksController, OffersController
from api.chats.params import ParamsController
from api.chats.read_receipts import ReadsController
from api.chats.search import SearchController
from api.chats.sharing import SharingController
from api.chats.statistics import StatisticsController
from api.compatibility.absent import AbsentController
from api.compatibility.feedback import FeedbackController, FeedbackListController
from api.compatibility.instance import InstanceController
from api.compatibility.model_tasks import ModelTasksController
from api.compatibility.page_search import PageSearchController
from api.compatibility.pictures import PicturesController
from api.completions.actions import ActionsController
from api.completions.aliases import CompletionsAliasController, OpenAIAliasController
from api.completions.anthropic.routes import MessagesController
from api.completions.completions import CompletionsController
from api.completions.continuing import ContinueController
from api.completions.forwarding import ForwardingController
from api.completions.models import ModelsController, model_card
from api.completions.openai import OpenAIController
from api.completions.payloads import PayloadsController
from api.completions.responses.routes import ResponsesController
from api.completions.responses.service import Responses
from api.completions.tasks import TasksController
from api.completions.turns import Turns
from api.completions.usage import UsageController
from api.functions.functions import FunctionsController
from api.functions.history import FunctionHistoryController
from api.functions.valves import FunctionValvesController
from api.models.entries import ModelEntriesController
from api.models.groups import GroupsController
from api.process.docs_page import docs_assets, send_docs_policy
from api.process.front_page import front_page
from api.process.health import Gauges, OpsController
from api.process.server import System
from api.providers.lists import OllamaListController, OpenAIListController
from api.providers.providers import ProvidersController
from api.request.allowed_methods import methods_of, sends_allowed_methods
from api.request.authentication import provide_any_principal, provide_principal, require_signed_in
from api.request.bodies import SMALL_BYTES, BodyMemory, bounded_bodies
from api.request.caller import provide_caller
from api.request.cors import cors_for
from api.request.errors import HANDLERS
from api.request.request_id import send_request_id
from api.request.response_counts import ResponseCounts, counts_responses
from api.request.security_headers import send_security_headers
from api.request.security_log import record_response
from api.schema import openapi_config, public_routes
from api.settings import Settings
from api.streams.http import StreamsController
from commands.accounts.api_keys import ApiKeys
from commands.accounts.personal_settings import PersonalSettings
from commands.analytics import Analytics
from commands.channels.channel_past import ChannelPast
from commands.channels.webhooks import ChannelWebhooks
from commands.chats.chat_lists import ChatLists
from commands.chats.offers import Offers
from commands.chats.params import ChatParams
from commands.chats.share_links import ShareLinks
from commands.chats.whole_lists import WholeLists
from commands.filters.completed import CompletedFilters
from commands.functions.actions import Actions
from commands.generation.payloads import Payloads
from commands.own_chats.own_chats import OwnChats
from commands.saving.saver import ChatSaver
from commands.transfer.copying import ChatCopier
from commands.transfer.whole_chat import WholeChats

# Routes for signed-in users, and those for signing in.
SIGNED_IN: Sequence[type[Controller]] = (
    AuthsController,
    KeysController,
    SessionsController,
    UsersController,
    UserKeysController,
    UserSessionsController,
    ChatListController,
    SearchController,
    ChatsController,
    CallsController,
    FoldersController,
    SharingController,
    OffersController,
    BlocksController,
    CopiesController,
    ParamsController,
    ReadsController,
    ExportsController,
    ImportController,
    StatisticsController,
    AnalyticsController,
    AnalyticsQueryController,
    AllChatsController,
    ActionsController,
    CompletionsController,
    ContinueController,
    PayloadsController,
    TasksController,
    UsageController,
    ModelsController,
    ModelEntriesController,
    GroupsController,
    ProvidersController,
    OpenAIListController,
    OllamaListController,
    ChannelsController,
    ChannelSearchController,
    ChannelController,
    ChannelMessagesController,
    ChannelExportController,
    ChannelCallsController,
    ChannelPastController,
    ChannelWebhooksController,
    OutgoingWebhooksController,
    WebhookPostsController,
    OpenAIController,
    ForwardingController,
    ResponsesController,
    MessagesController,
    OpenAIAliasController,
    CompletionsAliasController,
    ModelTasksController,
    InstanceController,
    PicturesController,
    FunctionsController,
    FunctionHistoryController,
    FunctionValvesController,
    AbsentController,
    FeedbackController,
    FeedbackListController,
    PageSearchController,
    StreamsController,
)


# What parts_of makes: the routes are made before.
PARTS: Final = (
    *("accounts", "actions", "activity", "analytics", "api_keys", "authentication", "blobs", "body_memory"),
    *("chat_copier", "chat_lists", "chat_params", "chat_reader", "chat_saver", "call_answers", "calls"),
    *("channels", "presence", "channel_reader", "channel_past", "channel_redactions", "channel_answers", "outgoing_webhooks"),
    *("channel_webhooks", "channel_queries", "chats", "completed_filters", "epoch", "folders", "function_folder"),
    *("function_history", "function_library", "chat_queries", "functions", "groups", "hub", "list_waits"),
    *("live", "log", "model_editor", "nodes", "provider_registry", "offers", "personal_settings"),
    *("passwords", "payloads", "own_chats", "read_receipts", "readiness", "registration", "registry", "router", "response_counts"),
    *("responses", "runs", "settings", "sessions", "share_links", "usage_report", "turns"),
    *("user_list", "whole_chats", "whole_lists"),
)


class Given(Provide):
    """A dependency that equals itself alone.

    Litestar compares each with all others for every route, a million times, and by all of their fields that took a quarter of the start.
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class OneAppsRouter(Router):
    """Belongs to one app, which need not copy it with all of its routes, as Litestar does for a router that several apps share."""

    def __deepcopy__(self, _: object) -> "OneAppsRouter":
        return self


def provide_in_turn(app: Litestar) -> None:
    """Have the dependencies of a request provided one after the other.

    Litestar starts a task for each of those that do not need each other. Hardly one of ours waits for anything, and the tasks took
    a tenth of what a small request costs.
    """
    for route in app.routes:
        for _, model in getattr(route, "route_handler_map", {}).values():
            model.dependency_batches = [{one} for batch in model.dependency_batches for one in sorted(batch, key=attrgetter("key"))]


def registry_of(system: System) -> CollectorRegistry:
    """The figures of this process."""
    registry = CollectorRegistry()
    registry.register(Gauges(system.figures))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


def parts_of(system: System, registry: CollectorRegistry | None = None) -> dict[str, object]:
    """What the routes work with, by the names of their parameters, which are ``PARTS``.

    ``registry`` is what ``/metrics`` shows: this process's figures, unless it is another.
    """
    log, stores, chats, reader = system.log, system.stores, system.chats, system.chat_reader
    blobs, chat_queries = stores.blobs, stores.chat_queries
    share_links = ShareLinks(chats, log, chat_queries, reader, system.list_waits, system.accounts)
    whole_chats = WholeChats(log, blobs, chats)
    functions = system.functions.runtime
    model_of = partial(model_card, system.router, functions)
    return {
        "accounts": system.accounts,
        "actions": Actions(functions, log, chats, blobs, model_of, system.calls.asking),
        "activity": stores.activity,
        "analytics": Analytics(stores.figures, log, system.groups),
        "api_keys": ApiKeys(system.accounts, stores.credentials, log),
        "authentication": system.authentication,
        "blobs": blobs,
        "body_memory": system.body_memory,
        "chat_copier": ChatCopier(reader, share_links, log, blobs, whole_chats),
        "chat_lists": ChatLists(chat_queries, system.folders, system.reads.receipts, system.list_waits, system.accounts),
        "chat_params": ChatParams(chats, reader, blobs),
        "chat_reader": reader,
        "chat_saver": ChatSaver(chats, chat_queries, log, blobs),
        "call_answers": system.call_answers,
        "calls": system.calls,
        "channels": system.channels,
        "presence": system.ticks.presence,
        "channel_reader": system.channel_reader,
        "channel_past": ChannelPast(log, stores.channel_queries, system.channel_redactions, system.epoch.epoch),
        "channel_redactions": system.channel_redactions,
        "channel_answers": system.channel_answers,
        "outgoing_webhooks": system.outgoing_webhooks,
        "channel_webhooks": ChannelWebhooks(
            log, system.channels, stores.credentials, note_used=system.used.note, processes=system.settings.workers
        ),
        "channel_queries": stores.channel_queries,
        "chats": chats,
        "completed_filters": CompletedFilters(system.filters, chats, model_of, system.email_of),
        "epoch": system.epoch.epoch,
        "folders": system.folders,
        "function_folder": system.functions.folder,
        "function_history": system.functions.history,
        "function_library": system.functions.library,
        "chat_queries": chat_queries,
        "functions": functions,
        "groups": system.groups,
        "hub": system.hub,
        "list_waits": system.list_waits,
        "live": system.live,
        "log": log,
        "model_editor": system.model_editor,
        "nodes": stores.nodes,
        "provider_registry": system.provider_registry,
        "offers": Offers(chats, system.accounts),
        "personal_settings": PersonalSettings(system.accounts, stores.credentials),
        "passwords": system.passwords,
        "payloads": Payloads(reader, log, blobs),
        "own_chats": OwnChats(chats, system.runs, system.folders, log, chat_queries),
        "read_receipts": system.reads.receipts,
        "readiness": system.readiness,
        "registration": system.registration,
        "registry": registry or registry_of(system),
        "router": system.router,
        "response_counts": system.response_counts,
        "responses": Responses(system.completions, chats, system.runs, chat_queries, blobs, log, system.hub, system.live),
        "runs": system.runs,
        "settings": system.settings,
        "sessions": system.sessions,
        "share_links": share_links,
        "usage_report": UsageReport(system.usage_book, stores.run_slots, system.live),
        "turns": Turns(system.completions, log, system.hub, system.live, system.epoch.epoch, system.runs, blobs, system.filters),
        "user_list": stores.user_list,
        "whole_chats": whole_chats,
        "whole_lists": WholeLists(chat_queries, log, reader, stores.user_list),
    }


class Routes:
    """All routes, made before the parts are there: of one parent for all of its workers, and in the tests for one server after the other.

    Making them takes most of the time in which a server starts.
    """

    def __init__(self, allowed_origins: Sequence[str], *, docs_public: bool = True) -> None:
        self._parts: dict[str, object] = {}
        self._system: System | None = None
        described = openapi_config()
        methods: dict[str, bytes] = {}
        self._app = Litestar(
            route_handlers=[
                OneAppsRouter("/", route_handlers=SIGNED_IN, guards=[require_signed_in], middleware=[bounded_bodies(self._body_memory)]),
                OpsController,
                asgi("/ws", copy_scope=False)(self._sockets),
                asgi("/ws/socket.io", copy_scope=False)(self._page_sockets),
                front_page(),
                *([docs_assets()] if docs_public else []),
            ],
            dependencies={
                **{name: self._given(name) for name in PARTS},
                "any_principal": Given(provide_any_principal),
                "caller": Given(provide_caller),
                "principal": Given(provide_principal),
            },
            cors_config=cors_for(allowed_origins),
            exception_handlers=HANDLERS,
            before_send=[
                send_request_id,
                sends_allowed_methods(methods),
                send_docs_policy,
                send_security_headers,
                record_response,
                counts_responses(self._response_counts),
            ],
            openapi_config=described if docs_public else None,
            request_max_body_size=SMALL_BYTES,
            logging_config=None,  # api/process/logging.py has set it up
        )
        provide_in_turn(self._app)
        methods.update(methods_of(self._app))
        described.public = public_routes(self._app)

    def on(self, system: System, registry: CollectorRegistry | None = None) -> Litestar:
        """The app on these parts, until it is put on others. ``registry`` as in ``parts_of``."""
        self._system = system
        self._parts.update(parts_of(system, registry))
        assert self._parts.keys() == set(PARTS), "PARTS names what parts_of makes"
        self._app.state["authentication"] = system.authentication
        return self._app

    def _given(self, name: str) -> Given:
        parts = self._parts
        return Given(lambda: parts[name], sync_to_thread=False)

    async def _sockets(self, scope: Any, receive: Any, send: Any) -> None:
        assert self._system is not None
        await self._system.sockets(scope, receive, send)

    async def _page_sockets(self, scope: Any, receive: Any, send: Any) -> None:
        assert self._system is not None
        await self._system.page_sockets(scope, receive, send)

    def _body_memory(self) -> BodyMemory:
        assert self._system is not None
        return self._system.body_memory

    def _response_counts(self) -> ResponseCounts:
        assert self._system is not None
        return self._system.response_counts


def routes_of(settings: Settings) -> Routes:
    return Routes(settings.allowed_origins, docs_public=settings.docs_public)
