"""A tab answers by its user's own provider while servers are killed: the question has its end in the log, or the answer goes on."""

import asyncio
import json
import signal
from typing import Any

import httpx
import pytest

from tests.crash.support import Tab, all_ended, closed, tabs, until
from tests.crash.test_two_servers import Both, Two, two

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
__all__ = ["two"]  # a fixture


def piece(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


END: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


class Relaying:
    """What a page does with a call that its tab sees: fetch the question, and relay chunks until each was taken."""

    def __init__(self, it: Two, tab: Tab, stream: str) -> None:
        self.it, self.tab, self.stream = it, tab, stream

    async def call_id(self) -> str:
        await until(lambda: self._calls(), what=self.tab)
        return str(self._calls()[-1]["call_id"])

    def _calls(self) -> list[dict[str, Any]]:
        return [event.data for event in self.tab.seen[self.stream] if event.type == "call"]

    async def relay(self, call_id: str, seq: int, data: Any) -> None:
        """Sent again until it was taken: over whichever connection there is then."""
        deadline = asyncio.get_running_loop().time() + 30
        while not any(frame["call_id"] == call_id and frame["seq"] == seq for frame in self.tab.said("chunk_ok")):
            assert asyncio.get_running_loop().time() < deadline, f"chunk {seq} was not taken: {self.tab}"
            socket = self.tab._socket
            try:
                assert socket is not None
                await socket.send(json.dumps({"op": "chunk", "call_id": call_id, "seq": seq, "data": data}))
            except Exception:  # noqa: BLE001  # the connection is gone, and the tab makes another
                pass
            await asyncio.sleep(0.05)


async def asked(it: Two, chat: str, *, http: httpx.AsyncClient | None = None) -> None:
    body = {
        "model": "mine",
        "model_item": {"direct": True, "id": "mine"},
        "chat_id": chat,
        "session_id": "tab",
        "stream": True,
        "messages": [{"role": "user", "content": "Say something."}],
    }
    answer = await it.ada.post("/api/chat/completions", body, http=http)
    assert answer.status_code == 200, answer.text


async def test_the_run_is_killed_and_its_call_ends_with_the_reason(two: Both) -> None:
    async with two() as it:
        chat = await it.ada.chat()
        stream = f"chat/{chat}"
        async with Tab(it.b.url, it.ada.token, [stream]) as tab:
            await asked(it, chat)  # it runs at A, the tab is at B
            page = Relaying(it, tab, stream)
            call_id = await page.call_id()
            await page.relay(call_id, 0, piece("Hel"))
            await until(lambda: tab.deltas() == 1)
            it.a.kill()
            await all_ended([tab], [stream])
            log = await closed(it.dsn)
            tab.assert_saw(log)
            types = [row.type for row in log.streams[stream]]
            assert types[-2:] == ["call_expired", "interrupted"]
            expired = json.loads(log.streams[stream][-2].data)
            assert expired == {"call_id": call_id, "reason": "server_gone"}
            refused = await it.at_b.post(f"/api/v1/chats/{chat}/calls/{call_id}/answer", json={"data": {"error": "late"}})
            assert (refused.status_code, refused.json()["reason"]) == (409, "server_gone")
            assert (await it.at_b.get(f"/api/v1/chats/{chat}/calls")).json() == []
        (answer,) = log.answers()
        assert (answer.end, answer.text) == ("interrupted", "Hel")


async def test_the_server_of_the_tab_is_killed_and_the_tab_goes_on_at_the_other(two: Both) -> None:
    async with two() as it:
        chat = await it.ada.chat()
        stream = f"chat/{chat}"
        tab = Tab(it.b.url, it.ada.token, [stream])
        async with tabs(tab):
            await asked(it, chat)
            page = Relaying(it, tab, stream)
            call_id = await page.call_id()
            for seq, word in enumerate(("one ", "two ", "three ")):
                await page.relay(call_id, seq, piece(word))
            tab.url = it.a.url
            it.b.kill()
            for seq, data in enumerate((piece("four"), END, {"done": True}), 3):
                await page.relay(call_id, seq, data)
            await all_ended([tab], [stream])
            log = await closed(it.dsn)
            tab.assert_saw(log)
        (answer,) = log.assert_whole()
        assert (answer.end, answer.text) == ("message_end", "one two three four")
        answered = [json.loads(row.data) for row in log.streams[stream] if row.type == "call_answered"]
        assert [one["data"] for one in answered] == [{"chunks": 6}]


async def test_a_server_that_is_told_to_stop_ends_the_call_with_its_answer(two: Both) -> None:
    async with two() as it:
        chat = await it.ada.chat()
        stream = f"chat/{chat}"
        async with Tab(it.b.url, it.ada.token, [stream]) as tab:
            await asked(it, chat)
            page = Relaying(it, tab, stream)
            await page.relay(await page.call_id(), 0, piece("Hel"))
            it.a.signal(signal.SIGTERM)
            await all_ended([tab], [stream])
            log = await closed(it.dsn)
            assert [row.type for row in log.streams[stream]][-2:] == ["call_expired", "interrupted"]
