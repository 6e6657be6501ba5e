"""``steno`` as people run it: a process of its own, against a real server."""

import asyncio
import json
import re
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.settings import Settings
from tests.api.cli.shell import EMAIL, PASSWORD, WAIT_S, Shell, interrupt
from tests.api.conftest import Running, running
from tests.client.line import bad_line

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(Settings(data=tmp_path / "data", drain_s=0.2)) as made:
        yield made


@pytest.fixture
def shell(server: Running, tmp_path: Path) -> Shell:
    return Shell(tmp_path / "config", server.url)


async def test_help_says_what_there_is(shell: Shell) -> None:
    done = await shell.run("--help", at="")
    assert done.code == 0
    for command in ("serve", "chat", "tail", "replay", "import", "export", "user", "epoch", "login", "whoami"):
        assert command in done.out


async def test_a_server_that_is_not_running(shell: Shell) -> None:
    done = await shell.run("chat", "Hello", at="http://127.0.0.1:9")
    assert done.code == 1
    assert "Nothing answers at http://127.0.0.1:9" in done.err
    assert "steno serve" in done.err


async def test_a_wrong_option_is_a_usage_error(shell: Shell) -> None:
    assert (await shell.run("replay", "last", "--speed", "fast")).code == 2
    assert (await shell.run("tail", "last", "--after", "yesterday")).code == 2


async def test_the_first_account_of_a_new_server(shell: Shell) -> None:
    assert "login" in (await shell.run("whoami")).err
    done = await shell.run("login", "--email", EMAIL, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert (done.code, "admin" in done.err) == (0, True)
    kept = shell.folder / "stenograph" / "login.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert PASSWORD not in kept.read_text()
    assert (await shell.run("whoami")).out == f"ann <{EMAIL}>, admin, at {shell.url}\n"
    assert (await shell.run("whoami", at="")).code == 0  # the server that was used last


async def test_keys_are_made_listed_and_ended_by_their_names(shell: Shell) -> None:
    await shell.sign_in()
    assert "steno key create" in (await shell.run("key", "list")).err
    made = await shell.run("key", "create", "laptop", "--scope", "chat", "--expires", "90d")
    other = await shell.run("key", "create", "phone")
    assert (made.code, other.code) == (0, 0), made.err + other.err
    key = made.out.strip()
    assert key.startswith("sk-")
    assert "there is a key of this name" in (await shell.run("key", "create", "laptop")).err.lower()
    assert (await shell.run("key", "create", "tablet", "--expires", "soon")).code == 2
    listed = (await shell.run("key", "list")).out
    assert [line.split("  ")[1:3] for line in listed.splitlines()] == [["laptop", "chat,read"], ["phone", "everything"]]
    assert key not in listed
    assert (await shell.run("whoami", "--token", key)).code == 0
    assert "scope account" in (await shell.run("key", "list", "--token", key)).err
    assert (await shell.run("key", "revoke", "laptop")).code == 0
    assert (await shell.run("whoami", "--token", key)).code == 1
    assert (await shell.run("whoami", "--token", other.out.strip())).code == 0
    assert "no key laptop" in (await shell.run("key", "revoke", "laptop")).err


async def test_sign_ins_are_listed_and_ended(shell: Shell) -> None:
    await shell.sign_in()
    elsewhere = await Shell(shell.folder / "elsewhere", shell.url).sign_in()
    lines = (await shell.run("session", "list")).out.splitlines()
    other = next(line.split()[0] for line in lines if "(this one)" not in line and "httpx" in line)
    assert sum("(this one)" in line for line in lines) == 1
    assert (await shell.run("session", "end")).code == 2
    assert (await shell.run("session", "end", other)).code == 0
    assert (await shell.run("session", "end", "--all")).code == 0
    assert [(await one.run("whoami")).code for one in (shell, elsewhere)] == [1, 1]


async def test_a_wrong_password(shell: Shell) -> None:
    await shell.sign_in()
    done = await shell.run("login", "--email", EMAIL, "--password", "not the one it is")
    assert done.code == 1
    assert "password" in done.err


async def test_nobody_to_ask(server: Running, shell: Shell) -> None:
    await server.sign_up()
    done = await shell.run("chat", "Hello")
    assert (done.code, "steno login" in done.err) == (1, True)


async def test_a_login_that_was_ended_elsewhere(shell: Shell) -> None:
    await shell.sign_in()
    token = json.loads((shell.folder / "stenograph" / "login.json").read_text())["at"][shell.url]["token"]
    assert (await shell.run("logout", "--token", token)).code == 0
    assert "steno login" in (await shell.run("chats")).err


async def test_one_question_one_answer(shell: Shell) -> None:
    await shell.sign_in()
    said = await shell.answer("What is this?")
    assert "\x1b" not in said
    events = await shell.exported()
    assert said == next(event["data"]["content"] for event in events if event["type"] == "message_end") + "\n"
    assert next(event["data"]["content"] for event in events if event["type"] == "message_added") == "What is this?"
    assert [line.split()[-3:] for line in (await shell.run("chats")).out.splitlines()] == [["What", "is", "this?"]]


async def test_the_chats_of_one_folder(server: Running, shell: Shell) -> None:
    ada = await server.sign_up()
    token = ("--token", ada.token)
    assert "no folder Work, and no other" in (await shell.run("chats", "--folder", "Work", *token)).err
    ids: list[str] = []
    for name, parent_id in (("Work", None), ("Home", None), ("Plans", 0), ("Plans", 1)):
        body = {"name": name, "parent_id": ids[parent_id] if parent_id is not None else None}
        ids.append((await ada.post("/api/v1/folders/", body)).json()["id"])
    await ada.post("/api/v1/chats/new", {"chat": {"title": "Tasks"}, "folder_id": ids[2]})
    await ada.new_chat("Elsewhere")
    for folder in ("work", ids[0], ids[2]):
        done = await shell.run("chats", "--folder", folder, *token)
        assert [line.split()[-1] for line in done.out.splitlines()] == ["Tasks"], done.err
    done = await shell.run("chats", "--folder", "plans", *token)
    assert done.code == 1
    assert all(part in done.err for part in ("Several folders", f"{ids[2]}  Plans  in Work", f"{ids[3]}  Plans  in Home"))
    done = await shell.run("chats", "--folder", "none", *token)
    assert (done.code, "You have no folder none. You have:" in done.err, "Home" in done.err) == (1, True, True)


async def test_chats_are_searched_and_what_is_found_cannot_steer_the_terminal(shell: Shell) -> None:
    await shell.sign_in()
    await shell.answer("What is a \x1b]0;needle\x07?")
    await shell.answer("Something else")
    done = await shell.run("chats", "--search", "needle")
    [title, snippet] = done.out.splitlines()
    assert "What is a" in title
    assert snippet.startswith("    ")
    assert "needle" in snippet
    assert not set("\x1b\x07") & set(done.out)
    assert (await shell.run("chats", "--search", "haystack")).err == "Nothing is found.\n"
    refused = await shell.run("chats", "--search", "pinned:maybe")
    assert (refused.code, "received pinned:maybe" in refused.err) == (1, True)


async def test_a_question_from_a_pipe_in_a_chat_that_is_there(shell: Shell) -> None:
    await shell.sign_in()
    await shell.answer("First")
    chat_id = (await shell.exported())[0]["stream"].removeprefix("chat/")
    done = await shell.run("chat", "--model", "demo:5", "--chat", chat_id, stdin="Second\n")
    assert done.code == 0, done.err
    added = [event["data"] for event in await shell.exported() if event["type"] == "message_added"]
    assert [one["content"] for one in added] == ["First", "Second\n"]
    assert added[1]["parent_id"] is not None


async def test_a_model_that_is_not_there_leaves_no_chat_behind(shell: Shell) -> None:
    await shell.sign_in()
    done = await shell.run("chat", "--model", "nobody", "Hello")
    assert (done.code, "steno models" in done.err) == (1, True)
    assert (await shell.run("chats")).out == ""


async def test_the_model_of_one_question_holds_for_that_one_alone(shell: Shell) -> None:
    await shell.sign_in()
    await shell.answer("Hello")
    assert (await shell.run("chat", "--chat", "last", "Again")).code == 0
    models = [event["data"]["model"] for event in await shell.exported() if event["type"] == "message_start"]
    assert models == ["demo:30", "demo"]


@pytest.mark.parametrize(("words", "said"), [(("--chat", "nobody's", "Hello"), 'no chat "nobody\'s"'), (("  ",), "the question is empty")])
async def test_what_cannot_be_asked(shell: Shell, words: tuple[str, ...], said: str) -> None:
    await shell.sign_in()
    done = await shell.run("chat", *words)
    assert (done.code in (1, 2), said in done.err) == (True, True), done.err
    assert (await shell.run("chats")).out == ""


async def test_one_who_is_not_signed_in_is_told_so_and_not_asked(shell: Shell) -> None:
    async with shell.at_terminal("whoami") as (process, terminal):
        await terminal.until("steno login")
        assert await process.wait() == 1


async def test_localhost_is_the_same_server_by_its_number(shell: Shell) -> None:
    await shell.sign_in()
    assert (await shell.run("whoami", at=shell.url.replace("127.0.0.1", "localhost"))).code == 0


@pytest.mark.parametrize(
    ("status", "kind", "body", "said"),
    [
        ("200 OK", "text/html", "<html>", "is no Stenograph server"),
        ("503 Service Unavailable", "application/json", '{"ready":false,"head":0}', "is not ready to sign anybody in"),
    ],
)
async def test_a_server_that_takes_no_sign_in_says_why(shell: Shell, status: str, kind: str, body: str, said: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write((head + body).encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        done = await shell.run("chats", at=f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}")
    assert (done.code, said in done.err, "Traceback" in done.err) == (1, True, False), done.err


@pytest.mark.parametrize("words", [("import", "-"), ("export", "--all"), ("verify",), ("projections", "list"), ("epoch", "new")])
async def test_a_command_that_needs_data_makes_none(shell: Shell, tmp_path: Path, words: tuple[str, ...]) -> None:
    folder = tmp_path / "nothing"
    done = await shell.run(*words, "--data", str(folder), at="", stdin="[]")
    assert (done.code != 0, str(folder) in done.err, folder.exists()) == (True, True, False), done.err


async def test_an_answer_that_fails(shell: Shell) -> None:
    await shell.sign_in()
    done = await shell.run("chat", "--model", "demo:fail", "Hello")
    assert (done.code, "provider_error" in done.err) == (1, True)
    assert done.out.strip()


async def test_a_chat_that_is_not_there(shell: Shell) -> None:
    await shell.sign_in()
    done = await shell.run("replay", "0190bbbb-0000-7000-8000-000000000002")
    assert (done.code, "steno chats" in done.err) == (1, True)


async def test_over_a_line_that_breaks_off_the_answer_is_whole(server: Running, shell: Shell) -> None:
    await shell.sign_in()
    # Enough for the login and the start of the answer; then it breaks off again and again.
    async with bad_line(server.url, [100_000, 100_000, 100_000, *[1500] * 4]) as line:
        done = await shell.run("chat", "--model", "demo:60", "Hello", "--email", EMAIL, "--password", PASSWORD, at=line.url)
        assert done.code == 0, done.err
    end = next(event for event in await shell.exported() if event["type"] == "message_end")
    assert done.out == end["data"]["content"] + "\n"


async def test_ctrl_c_stops_the_answer(shell: Shell) -> None:
    await shell.sign_in()
    process = shell.start("chat", "--model", "demo:1000", "Hello", "--url", shell.url)
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        await process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 130
    assert (await shell.exported())[-1]["type"] == "cancelled"


async def test_tail_goes_on_from_a_cursor(server: Running, shell: Shell) -> None:
    await shell.sign_in()
    await shell.answer("Hello")
    events = await shell.exported()
    process = shell.start("tail", "last", "--after", f"{server.epoch}:4", "--json", "--url", shell.url)
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        seen = [json.loads(await process.stdout.readline()) for _ in events[4:]]
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert [event["version"] for event in seen] == [event["version"] for event in events[4:]]
    assert seen[-1]["cursor"] == f"{server.epoch}:{len(events)}"
    assert process.returncode == 130


async def test_a_cursor_of_another_history(shell: Shell) -> None:
    await shell.sign_in()
    await shell.answer("Hello")
    done = await shell.run("tail", "last", "--after", "0190bbbb-0000-7000-8000-000000000002:4")
    assert (done.code, "--after start" in done.err) == (1, True)


async def test_replay_plays_what_was_said(shell: Shell) -> None:
    await shell.sign_in()
    said = await shell.answer("Hello")
    played = (await shell.run("replay", "last", "--speed", "0")).out
    assert said in played
    assert "ann: Hello" in played
    assert "has ended (stop, 30 tokens" in played
    assert said.split()[0] in (await shell.run("replay", "last", "--speed", "0", "--until", "6")).out
    assert said not in (await shell.run("replay", "last", "--speed", "0", "--until", "6")).out


async def test_an_export_is_played_without_a_server(shell: Shell, tmp_path: Path) -> None:
    await shell.sign_in()
    said = await shell.answer("Hello")
    file = tmp_path / "chat.jsonl"
    assert (await shell.run("export", "last", "-o", str(file))).code == 0
    played = await shell.run("replay", str(file), "--speed", "0", at="http://127.0.0.1:9")
    assert played.code == 0, played.err
    assert said in played.out
    assert played.out == (await shell.run("replay", "last", "--speed", "0")).out
    refused = await shell.run("replay", str(file), "--until", "1999-01-01")
    assert (refused.code, "The first event is version 1" in refused.err) == (1, True)
    file.write_bytes(file.read_bytes()[:-20])
    broken = await shell.run("replay", str(file), "--speed", "0")
    assert (broken.code, "Line " in broken.err, "not JSON" in broken.err) == (1, True, True)


async def test_a_transcript_by_the_ending_of_its_file(shell: Shell, tmp_path: Path) -> None:
    await shell.sign_in()
    said = await shell.answer("Hello")
    for name, begins in {"chat.md": "# Hello", "chat.html": "<!doctype html>"}.items():
        done = await shell.run("export", "last", "-o", str(tmp_path / name))
        assert done.code == 0, done.err
        text = (tmp_path / name).read_text()
        assert text.startswith(begins)
        assert said.strip() in text


@pytest.mark.parametrize(
    "words", [[], ["last", "--all"], ["--all", "--format", "html"], ["last", "--user", "a@b.c"], ["last", "--branch", "all"]]
)
async def test_an_export_of_nothing_in_particular(shell: Shell, words: list[str]) -> None:
    done = await shell.run("export", *words)
    assert done.code == 2


async def test_over_a_line_that_breaks_off_an_export_is_whole(server: Running, shell: Shell, tmp_path: Path) -> None:
    await shell.sign_in()
    await shell.answer("Hello")
    plain = (await shell.run("export", "last")).out
    async with bad_line(server.url, [100_000, *[4000] * 3]) as line:
        done = await shell.run("export", "last", "-o", str(tmp_path / "a"), "--email", EMAIL, "--password", PASSWORD, at=line.url)
        assert done.code == 0, done.err
        assert line.cuts > 1
    assert (tmp_path / "a").read_text() == plain


async def test_an_admin_adds_a_user_and_a_user_does_not(shell: Shell, tmp_path: Path) -> None:
    await shell.sign_in()
    done = await shell.run("user", "add", "bob@example.org", "--role", "user", "--password-stdin", stdin="battery staple\n")
    assert done.code == 0, done.err
    bob = Shell(tmp_path / "bob", shell.url)
    assert (await bob.run("login", "--email", "bob@example.org", "--password", "battery staple")).code == 0
    done = await bob.run("user", "add", "eve@example.org", "--password-stdin", stdin="battery staple\n")
    assert (done.code, "admin" in done.err) == (1, True)


async def test_settings_that_cannot_be_used(shell: Shell) -> None:
    shell.environ["STENO_PORTT"] = "80"
    done = await shell.run("serve", at="")
    assert (done.code, "STENO_PORTT" in done.err) == (1, True)


async def test_a_port_that_is_taken(shell: Shell, tmp_path: Path) -> None:
    port = shell.url.rpartition(":")[2]
    done = await shell.run("serve", "--port", port, "--data", str(tmp_path / "other"), at="")
    assert (done.code, "is taken" in done.err) == (1, True)


async def test_what_is_typed_is_checked_at_once_and_a_paste_is_one_question(shell: Shell) -> None:
    async with shell.at_terminal("chat", "--model", "demo:3") as (process, terminal):
        await terminal.until("E-mail: ")
        terminal.type("ann at example\n")
        await terminal.until("is no e-mail address")
        await terminal.until("E-mail: ")
        terminal.type(f"{EMAIL}\n")
        for asked, answer in (("Your name", "Ann"), ("Password: ", PASSWORD), ("Once more: ", PASSWORD)):
            await terminal.until(asked)
            terminal.type(f"{answer}\n")
        await terminal.until("/help")
        await terminal.until("> ")
        terminal.type("One\nTwo\n\nThree\n")
        await terminal.until(r"> \S*$")
        await interrupt(process, terminal.until(r"steno chat --chat [0-9a-f-]{36}"))
        async with asyncio.timeout(WAIT_S):
            assert await process.wait() == 130
    assert [event["data"]["content"] for event in await shell.exported() if event["type"] == "message_added"] == ["One\nTwo\n\nThree"]


async def test_a_conversation_at_a_terminal(shell: Shell) -> None:
    async with shell.at_terminal("chat", "--model", "demo:20") as (process, terminal):
        await terminal.until("first account")
        await terminal.until("E-mail: ")
        terminal.type(f"{EMAIL}\n")
        await terminal.until("Your name")
        terminal.type("Ann\n")
        await terminal.until("Password: ")
        terminal.type(f"{PASSWORD}\n")
        await terminal.until("Once more: ")
        terminal.type(f"{PASSWORD}\n")
        assert PASSWORD not in await terminal.until("/help")
        await terminal.until("> ")
        terminal.type("Hello\n")
        await terminal.until(r"> \S*$")
        terminal.type("/retry\n")
        await terminal.until(r"> \S*$")
        terminal.type("/model demo:1000\n")
        await terminal.until("answers from now on")
        await terminal.until(r"> \S*$")
        terminal.type("At length\n")
        await terminal.until(r"At length\r\n(\S+\s+){30}")
        process.send_signal(signal.SIGINT)
        await terminal.until("stopped")
        await terminal.until(r"> \S*$")
        terminal.type("/quit\n")
        await terminal.until(r"steno chat --chat [0-9a-f-]{36}")
        async with asyncio.timeout(WAIT_S):
            assert await process.wait() == 0
    assert [event["type"] for event in await shell.exported() if event["type"] in ("message_start", "message_end", "cancelled")] == [
        "message_start",
        "message_end",
        "message_start",
        "message_end",
        "message_start",
        "cancelled",
    ]


async def test_what_an_account_has_is_shown_and_an_admin_changes_what_it_may_have(shell: Shell, tmp_path: Path) -> None:
    await shell.sign_in()
    await shell.run("user", "add", "bob@example.org", "--password-stdin", stdin="battery staple\n")
    bob = Shell(tmp_path / "bob", shell.url)
    await bob.run("login", "--email", "bob@example.org", "--password", "battery staple")
    await bob.answer("Hello")
    shown = await bob.run("user", "show", "bob@example.org")
    assert (shown.code, shown.out.splitlines()[0]) == (0, "bob <bob@example.org>, user")
    assert re.search(r"^  chats +1 of 100,000$", shown.out, re.MULTILINE)
    assert re.search(r"^  storage +\S+ \S*B of 20.0 GiB$", shown.out, re.MULTILINE)
    assert (await shell.run("user", "show", "BOB@example.org")).out == shown.out
    assert (await bob.run("user", "show", EMAIL)).code == 1
    changed = await shell.run("user", "quota", "bob@example.org", "--runs", "3", "--chats", "default")
    assert re.search(r"^  answers at once +0 of 3$", changed.out, re.MULTILINE), changed.err
    assert (await bob.run("user", "quota", "bob@example.org", "--runs", "300")).code == 1
    assert (await shell.run("user", "quota", "bob@example.org", "--runs", "many")).code == 2
    assert (await shell.run("user", "quota", "bob@example.org")).code == 2
    assert "Nobody here" in (await shell.run("user", "show", "eve@example.org")).err
