"""All configured connections as one: which models there are, and who answers for which."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import msgspec
import structlog

from commands.metrics import MetricFigure, counted
from commands.providers.provider import PROVIDER_CODES, Model, Provider
from commands.routing.route import Route as RouteFound
from domain.errors import ModelNotFound, ProviderFailed

DEMO: Final = "demo"
LISTED_S: Final = 10.0  # how long a connection's list of models is believed
FRESH_S: Final = 1.0  # … and how long where somebody asks for a model that is not in it: it may be new there
LIST_TIMEOUT_S: Final = 10.0  # how long one connection may take for its list
WAIT_S: Final = 1.0  # how long a list of all models waits for one of them, once: then it shows what is known until that one has answered
logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ConfiguredProvider:
    """One configured provider. Its models are known as ``prefix.model`` if it has a prefix, which tells equal names apart."""

    name: str  # unique, for logs and for the settings page
    provider: Provider
    prefix: str = ""
    last: bool = False  # listed and asked after all the others: the built-in demo
    models: Sequence[str] = ()  # upstream ids; where there are some, the provider is not asked for its list
    allowed: frozenset[str] = frozenset()  # upstream ids; where there are some, others that it lists cannot be asked
    details: Mapping[str, Any] = field(default_factory=dict)  # of all its models: tags, connection_type

    def public_id(self, upstream: str) -> str:
        return f"{self.prefix}.{upstream}" if self.prefix else upstream


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers for a model, and under which name it is asked there."""

    connection: str
    provider: Provider
    upstream: str
    owned_by: str = ""


@dataclass(slots=True)
class _Listing:
    models: Sequence[Model] = ()  # that can be asked now, under their upstream names
    known: Sequence[Model] = ()  # of the last list that came: a server that is away for a moment still owns its models
    at_s: float = float("-inf")
    failure: ProviderFailed | None = None
    keeps_waiting: bool = False  # it has taken longer than ``WAIT_S``, and has not answered since


def listing_of(connection: ConfiguredProvider) -> _Listing:
    """Of a connection whose models are configured, the list for ever; of any other none yet."""
    if not connection.models:
        return _Listing()
    models = [Model(id=one, name=one, owned_by="openai") for one in connection.models]
    return _Listing(models, models, float("inf"))


class Providers:
    """The set of all connections, in the order of the settings; of two models with one id the first counts."""

    def __init__(
        self,
        connections: Sequence[ConfiguredProvider],
        *,
        listed_s: float = LISTED_S,
        wait_s: float = WAIT_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._connections: Sequence[ConfiguredProvider] = ()
        self._listed_s = listed_s
        self._wait_s = wait_s
        self._clock = clock
        self._listings: Mapping[str, _Listing] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._list_errors: Counter[str] = Counter()
        self.replace(connections)

    def replace(self, connections: Sequence[ConfiguredProvider]) -> None:
        """From now on these are asked. Answers that are running go on. What is known of a connection that stays is kept.

        Raises ``ValueError`` where two have one name: then nothing has changed.
        """
        names = [connection.name for connection in connections]
        if len(set(names)) != len(names):
            raise ValueError(f"expected every connection to have a name of its own, received {names}")
        before = {connection.name: connection for connection in self._connections}
        stays = {connection.name for connection in connections if before.get(connection.name) is connection}
        self._connections = sorted(connections, key=lambda connection: connection.last)  # stable: the order that was given otherwise
        self._listings = {one.name: self._listings[one.name] if one.name in stays else listing_of(one) for one in connections}
        for name in [name for name in self._asking if name not in stays]:
            self._asking.pop(name).cancel()

    async def models(self) -> list[Model]:
        """Every model that can be asked now, under the id to ask for. Never fails: a dead server's last list is left out.

        What is known of a server that keeps others waiting is shown as it is.
        """
        await self._all_listed(self._wait_s)
        seen: dict[str, Model] = {}
        for connection in self._connections:
            for model in self._listings[connection.name].models:
                public_id = connection.public_id(model.id)
                if public_id not in seen:
                    details = {**model.details, **connection.details, "connection": connection.name}
                    seen[public_id] = msgspec.structs.replace(model, id=public_id, details=details)
        return list(seen.values())

    async def resolve(self, model: str) -> Route:
        """Who answers for ``model``. Raises ``ModelNotFound``.

        Lists that are known are looked at first, so that a generation does not wait for a listing. A model that no list
        names is offered to connections that say they accept it unlisted (``demo:N``).
        """
        while (route := self._known(model)) is None:
            connections, unlisted = self._connections, self._route_for_unlisted_model(model)
            await self._all_listed(LIST_TIMEOUT_S, self._listed_s if unlisted else min(FRESH_S, self._listed_s))
            if connections is self._connections:  # otherwise there are others now, which were not asked
                route = self._known(model) or unlisted
                break
        if route is None:
            raise ModelNotFound(model)
        return route

    async def find(self, model: str) -> RouteFound | None:
        """As ``resolve``, as a source of the router. None where no connection has the model."""
        try:
            route = await self.resolve(model)
        except ModelNotFound:
            return None
        return RouteFound(provider=route.provider, upstream=route.upstream, owned_by=route.owned_by, provider_name=route.connection)

    @property
    def failures(self) -> Mapping[str, ProviderFailed]:
        """The connections whose last listing failed, and why."""
        return {name: listing.failure for name, listing in self._listings.items() if listing.failure is not None}

    def figures(self) -> Iterator[MetricFigure]:
        """The metrics of the connections (``commands/metrics.py``)."""
        errors = counted("code", PROVIDER_CODES, self._list_errors)
        yield "counter", "stenograph_provider_list_errors", "Lists of models that a provider failed to give.", errors
        yield "gauge", "stenograph_providers_failing", "Providers whose last list of models failed.", len(self.failures)

    async def aclose(self) -> None:
        """End the listings that still run."""
        for task in list(self._asking.values()):
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _known(self, model: str) -> Route | None:
        for connection in self._connections:
            for listed in self._listings[connection.name].known:
                if connection.public_id(listed.id) == model:
                    return Route(connection.name, connection.provider, listed.id, listed.owned_by)
        return None

    def _route_for_unlisted_model(self, model: str) -> Route | None:
        for connection in self._connections:
            accepts = getattr(connection.provider, "accepts", None)
            prefix = connection.public_id("")
            if accepts is not None and model.startswith(prefix) and accepts(model[len(prefix) :]):
                owned_by = DEMO if connection.last else ""
                return Route(connection.name, connection.provider, model[len(prefix) :], owned_by)
        return None

    async def _all_listed(self, wait_s: float, listed_s: float | None = None) -> None:
        """Ask those whose lists are older than ``listed_s``, and wait for them: at most ``wait_s``, and not for those that keep others
        waiting.
        """
        listed_s = self._listed_s if listed_s is None else listed_s
        now_s, connections = self._clock(), self._connections
        asked: dict[str, asyncio.Task[None]] = {}
        for connection in self._connections:
            listing = self._listings[connection.name]
            if now_s - listing.at_s >= listed_s:
                task = self._asking.get(connection.name)
                if task is None:  # one question at a time, however many wait for its answer
                    task = asyncio.create_task(self._ask(connection), name=f"models of {connection.name}")
                    self._asking[connection.name] = task
                if not listing.keeps_waiting:
                    asked[connection.name] = task
        if asked:
            await asyncio.wait(asked.values(), timeout=wait_s)  # a caller that leaves does not take the answer from the others
            for name, task in asked.items():
                if task.cancelled() and connections is not self._connections:  # its connection is gone, or another one now
                    continue
                if task.done():
                    task.result()  # a failure of the provider is in its listing: whatever is raised here is another one
                elif name in self._listings:
                    self._listings[name].keeps_waiting = True

    async def _ask(self, connection: ConfiguredProvider) -> None:
        listing = self._listings[connection.name]
        try:
            async with asyncio.timeout(LIST_TIMEOUT_S):
                listed = await connection.provider.models()
            listing.models = listing.known = [one for one in listed if not connection.allowed or one.id in connection.allowed]
            listing.failure, listing.keeps_waiting = None, False
        except TimeoutError:
            listing.keeps_waiting = True
            self._failed(connection, listing, ProviderFailed("provider_idle", f"no list of models within {LIST_TIMEOUT_S:g} s"))
        except ProviderFailed as failure:
            listing.keeps_waiting = listing.keeps_waiting and failure.code in ("provider_idle", "provider_unreachable")
            self._failed(connection, listing, failure)
        finally:
            listing.at_s = self._clock()
            if self._asking.get(connection.name) is asyncio.current_task():
                del self._asking[connection.name]

    def _failed(self, connection: ConfiguredProvider, listing: _Listing, failure: ProviderFailed) -> None:
        if listing.failure is None or listing.failure.code != failure.code:  # once, not at every listing
            logger.warning("provider_models_failed", connection=connection.name, code=failure.code, detail=failure.private)
        self._list_errors[failure.code] += 1
        listing.models = ()
        listing.failure = failure
