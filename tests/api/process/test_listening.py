"""The socket that a server listens on."""

import asyncio
import socket

import pytest

from api.process.serve import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_a_server_writes_goes_out_at_once_on_asyncios_own_loop_too(host: str) -> None:
    """Otherwise each body waits for the acknowledgement of its head, which clients delay by 40 ms."""

    async def accepted() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listening = listen(host, 0)
        async with await asyncio.start_server(accept, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname()[:2])
            writer.close()
            return await found

    assert asyncio.run(accepted()) != 0
