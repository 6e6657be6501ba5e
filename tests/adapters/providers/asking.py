"""What the tests of the providers share."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from commands.providers.provider import Finish, Part, Provider, ProviderRequest, Reasoning, Text
from domain.errors import ProviderFailed

STOP = Finish("stop")


def ask(model: str = "m", content: str = "Hi", **params: Any) -> ProviderRequest:
    return ProviderRequest(model=model, messages=[{"role": "user", "content": content}], params=params)


async def heard(provider: Provider, asked: ProviderRequest | None = None) -> list[Part]:
    """All parts of an answer."""
    return [part async for read in provider.stream(asked or ask()) for part in read]


async def heard_until_failure(provider: Provider, asked: ProviderRequest | None = None) -> tuple[list[Part], ProviderFailed]:
    """What came before the failure, and the failure."""
    parts: list[Part] = []
    try:
        async for read in provider.stream(asked or ask()):
            parts += read
    except ProviderFailed as failure:
        return parts, failure
    raise AssertionError(f"expected a failure, received a whole answer: {parts}")


def text(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


def reasoning(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Reasoning))


@contextmanager
def nobody_accepts() -> Iterator[str]:
    """The address of a port whose queue of waiting connections is full, so that connecting takes for ever."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}"


def closed_port() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"
