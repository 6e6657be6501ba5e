"""A snapshot of the database is put back behind the server's back: its numbers are used again, for other events."""

import shutil
import signal
from pathlib import Path

import pytest

from api.process.serve import EXIT_ANOTHER_HISTORY
from tests.crash.conftest import StartServer, copy_folder, on_one_and_two
from tests.crash.processes import kill_postgres, postgres_gone
from tests.crash.support import Tab, all_ended, people, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow, on_one_and_two]


def put_back(copy: Path, data: Path) -> None:
    shutil.rmtree(data / "postgres")
    copy_folder(copy, data / "postgres")


async def test_a_restored_log_is_another_epoch_and_old_cursors_are_told_so(
    new_server: StartServer, data_folder: Path, open_folder: Path
) -> None:
    copy = open_folder / "copied-while-stopped"
    server = await new_server(data=data_folder).start()
    async with people(server.url, "ada") as (ada,):
        chat = await ada.chat()
        stream = f"chat/{chat}"
        async with Tab(server.url, ada.token, [stream]) as tab:
            await ada.ask(chat, "demo:20")
            await all_ended([tab], [stream])
            old_epoch, old_head = tab.epoch, tab.last(stream)
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
        copy_folder(data_folder / "postgres", copy)

        # The same epoch goes on, and its log grows …
        await server.start()
        async with Tab(server.url, ada.token, [stream]) as tab:
            assert tab.epoch == old_epoch
            await ada.ask(chat, "demo:20", "And then?")
            await all_ended([tab], [stream], 2)
            lost_head = tab.last(stream)
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0

        # … until the copy is put back: what was added is gone, and its numbers will be given out again.
        put_back(copy, data_folder)
        await server.start()
        for cursor in (f"{old_epoch}:{old_head}", f"{old_epoch}:{lost_head}"):
            gone = await ada.page(stream, cursor)
            assert (gone.status_code, gone.json()["code"]) == (410, "cursor_gone"), gone.text
            assert (gone.json()["epoch"] != old_epoch, gone.json()["head"]) == (True, old_head)
            whole = await ada.http.get("/api/v1/log", params={"after": cursor})
            assert whole.status_code == 410
            async with Tab(server.url, ada.token, [stream], after=cursor) as tab:
                (said,) = [frame for frame in tab.said("subscribed") if frame["id"] is not None]
                assert (said["replay"], said["reason"]) == ("snapshot", "epoch")
                assert said["epoch"] == tab.epoch != old_epoch
                (snapshot,) = tab.said("snapshot")
                assert snapshot["version"] == old_head
                assert len(snapshot["state"]["chat"]["history"]["messages"]) == 2
        async with Tab(server.url, ada.token, [stream], after=f"{tab.epoch}:{old_head}") as tab:
            await ada.ask(chat, "demo:20", "Where were we?")
            await all_ended([tab], [stream])
            assert tab.seen[stream][0].version == old_head + 1
    shutil.rmtree(copy)


async def test_a_server_that_lives_through_it_serves_no_second_history(
    new_server: StartServer, data_folder: Path, open_folder: Path
) -> None:
    """Its numbers would go back under the same epoch. It ends instead, and the next one says what happened."""
    copy = open_folder / "copied-while-running"
    server = await new_server(data=data_folder).start()
    async with people(server.url, "ada") as (ada,):
        chat = await ada.chat()
        stream = f"chat/{chat}"
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
        copy_folder(data_folder / "postgres", copy)
        await server.start()
        async with Tab(server.url, ada.token, [stream]) as tab:
            old_epoch = tab.epoch
            await ada.ask(chat, "demo:20")
            await all_ended([tab], [stream])
            await ada.ask(chat, "demo:1000", "And in full?")
            await until(lambda: tab.deltas() >= 30)
            server.signal(signal.SIGSTOP)  # it must not start what is being replaced
            kill_postgres(data_folder)
            await postgres_gone(data_folder)
            put_back(copy, data_folder)
            server.signal(signal.SIGCONT)
            tab.comes_back = False
            await until(lambda: not server.lives, 30)
            assert await server.ended() == EXIT_ANOTHER_HISTORY
            await until(lambda: tab.closes)
        await server.start()
        async with Tab(server.url, ada.token, [stream], after=f"{old_epoch}:{tab.last(stream)}") as tab:
            assert tab.epoch != old_epoch
            assert [frame["reason"] for frame in tab.said("subscribed") if frame["id"] is not None] == ["epoch"]
            assert [frame["version"] for frame in tab.said("snapshot")] == [1], "the old process has written into the restored log"
            await ada.ask(chat, "demo:20")
            await all_ended([tab], [stream])
    shutil.rmtree(copy)
