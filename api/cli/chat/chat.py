"""``steno chat``: a conversation that goes on where it was, whatever happens to the server or the line."""

import asyncio
import contextlib
import select
import signal
import sys
from collections.abc import Coroutine
from typing import Any, Final
from uuid import uuid4

import rich_click as click
from click.exceptions import Exit

from api.cli.chat.answer_text import AnswerText
from api.cli.chat.questions import TerminalQuestions
from api.cli.login import (
    Failed,
    Target,
    chat_named,
    client_for,
    error_text,
    options,
    remember_model,
    remembered_model,
    run,
    token_for,
)
from api.cli.safe_text import safe, safe_line
from api.cli.terminal import Terminal
from stenograph_client import ApiError, Begun, Client, ClientError

RETRY_S: Final = 120.0  # a question that is asked while the server restarts waits for it as long
STOP_WAIT_S: Final = 2.0
CONTINUES_MAX: Final = 100  # of one answer: a server that stops again and again
CUT_OFF_STATES: Final = frozenset({"interrupted", "cancelled", "error"})
PASTED_WITHIN_S: Final = 0.03
TITLE_CHARACTERS: Final = 60
HELP: Final = """\
/continue      go on with an answer that was cut off; so does Enter alone, after one
/retry         ask the last question again
/model NAME    let another model answer; alone: list them
/help          this
/quit          leave (so does Ctrl-D)
Ctrl-C         stop the answer; twice, or while no answer comes: leave
A text of several lines that is pasted is one question.
"""


class ConversationLeft(Exception):
    """The person has left in the middle of an answer."""


class Conversation:
    """One chat and who answers in it. The chat is made with the first question."""

    def __init__(self, target: Target, token: str, model: str, chat_id: str | None, screen: Terminal, *, continues: bool = False) -> None:
        self.target = target
        self.token = token
        self.model = model
        self.chat_id = chat_id
        self.screen = screen
        self.question_id: str | None = None  # the last one, for /retry
        self.session_id = uuid4().hex  # what the server asks during an answer comes here first
        self.cut_off: str | None = None  # the last answer, where it ended before it was whole
        self._continues = continues  # an interrupted answer is continued without being asked to
        self._has_said = False  # the answer that was cut off has said something

    def client(self) -> Client:
        return client_for(self.target, self.token, retry_s=RETRY_S, on_state=self.screen.connection)

    async def ask(self, question: str) -> str:
        """Ask, and show the answer as it comes. Returns how it ended, as the event's type. Raises ``ConversationLeft``, ``ClientError``."""
        async with self.client() as client:
            chat_id = self.chat_id or str((await client.new_chat(title_of(question)))["id"])
            asked = {"id": str(uuid4()), "role": "user", "content": question}
            try:
                begun = await client.complete(self.model, chat_id=chat_id, session_id=self.session_id, user_message=asked)
            except ApiError:
                if self.chat_id is None:  # such as for a model that is not there: no empty chat is left behind
                    await client.delete_chat(chat_id)
                raise
            self.chat_id, self.question_id = chat_id, asked["id"]
            return await self._to_the_end(client, begun)

    async def retry(self) -> str:
        """The last question again: its new answer stands beside the old one."""
        async with self.client() as client:
            parent_id = self.question_id or await self._last_question(client)
            if self.chat_id is None or parent_id is None:
                raise Failed("There is no question yet.")
            self.question_id = parent_id
            begun = await client.complete(self.model, chat_id=self.chat_id, session_id=self.session_id, parent_id=parent_id)
            return await self._to_the_end(client, begun)

    async def go_on(self) -> str:
        """Go on with the last answer, which was cut off. Raises as ``ask`` does."""
        async with self.client() as client:
            return await self._to_the_end(client, await self._continued(client), repeats=False)

    async def go_on_from_before(self) -> str | None:
        """The same for an answer that was cut off before this command began, with the text that it had. None: the newest one is whole."""
        async with self.client() as client:
            message = await self._newest(client)
            if message is None or message.get("role") != "assistant":
                return None
            if message.get("state") not in CUT_OFF_STATES and message.get("finish_reason") != "length":
                return None
            self.cut_off, self._has_said = str(message["id"]), bool(message.get("content"))
            self.question_id = message.get("parentId")
            return await self._to_the_end(client, await self._continued(client))

    async def _newest(self, client: Client) -> dict[str, Any] | None:
        if self.chat_id is None:
            return None
        history = (await client.chat(self.chat_id))["chat"]["history"]
        return dict(history["messages"][history["currentId"]]) if history["currentId"] is not None else None

    async def _continued(self, client: Client) -> Begun:
        if self.chat_id is None or self.cut_off is None:
            raise Failed("There is no answer that was cut off.")
        if self._has_said:
            return await client.continue_answer(self.chat_id, self.cut_off)
        # There is nothing to go on from.
        return await client.complete(self.model, chat_id=self.chat_id, session_id=self.session_id, parent_id=self.question_id)

    async def _to_the_end(self, client: Client, begun: Begun, *, repeats: bool = True) -> str:
        """Show the answer, and where that is asked for go on with it for as long as servers stop under it."""
        outcome = await self._show(client, begun, repeats=repeats)
        for _ in range(CONTINUES_MAX):
            if not (self._continues and outcome == "interrupted"):
                break
            self.screen.note("continuing …")
            outcome = await self._show(client, await self._continued(client), repeats=False)
        return outcome

    async def _last_question(self, client: Client) -> str | None:
        if self.chat_id is None:
            return None
        history = (await client.chat(self.chat_id))["chat"]["history"]
        at = history.get("currentId")
        while at is not None:
            message = history["messages"][at]
            if message["role"] == "user":
                return str(at)
            at = message.get("parentId")
        return None

    async def _show(self, client: Client, begun: Begun, *, repeats: bool = True) -> str:
        talk = AnswerText(frozenset(begun.message_ids or [begun.message_id]), repeats=repeats)
        loop = asyncio.get_running_loop()
        reader = asyncio.ensure_future(self._read(client, begun, talk))
        stopping: set[asyncio.Task[None]] = set()

        def interrupted() -> None:
            if stopping:
                reader.cancel()
                return
            stopping.add(loop.create_task(self._stop(client, begun)))

        loop.add_signal_handler(signal.SIGINT, interrupted)
        try:
            await reader
        except asyncio.CancelledError:
            if not stopping:
                raise
            raise ConversationLeft from None
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            self.screen.end_line()
            if stopping:  # the user leaves at once; the answer is still to be stopped
                await asyncio.wait(stopping, timeout=STOP_WAIT_S)
                for task in stopping:
                    task.cancel()
        has_said = bool(talk.said) or (not repeats and self._has_said)
        self.cut_off, self._has_said = (str(begun.message_id), has_said) if talk.is_cut_off else (None, False)
        return talk.outcome or "message_end"

    async def _read(self, client: Client, begun: Begun, talk: AnswerText) -> None:
        questions = TerminalQuestions(self.screen)
        answer = client.answer(begun, on_call=questions.ask, session_id=self.session_id)
        with contextlib.closing(questions):
            async with contextlib.aclosing(answer) as events:
                async for event in events:
                    for piece in talk.feed(event):
                        questions.show(piece)
            await questions.discard_unfinished()

    async def _stop(self, client: Client, begun: Begun) -> None:
        for task_id in begun.task_ids or [begun.task_id]:
            with contextlib.suppress(ClientError):  # it has ended already, or the server is away: the answer itself shows it
                await client.stop(task_id)


def title_of(question: str) -> str:
    title = " ".join(question.split())
    return title if len(title) <= TITLE_CHARACTERS else title[: TITLE_CHARACTERS - 1] + "…"


async def open_conversation(
    target: Target, model: str | None, named: str | None, screen: Terminal, *, remembers: bool, continues: bool = False
) -> Conversation:
    """``named``: the chat to go on with, as it was typed. ``remembers``: this model answers in the next conversation too."""
    chat_id = None
    token = await token_for(target)
    async with client_for(target, token) as client:
        if named is not None:
            chat_id = await chat_named(client, named)
        known = [str(one["id"]) for one in await client.models()]
        wanted = model or remembered_model(target)
        if model is None and wanted not in known:
            wanted = "demo" if "demo" in known else next(iter(known), None)
        if wanted is None:
            raise Failed(
                "No model is configured on this server.\n"
                "Start it with one:  STENO_OPENAI_BASE_URLS=https://…/v1 STENO_OPENAI_API_KEYS=… steno serve\n"
                "or with Ollama:     STENO_OLLAMA_BASE_URLS=http://localhost:11434 steno serve"
            )
    if model is not None and remembers:
        remember_model(target, model)
    return Conversation(target, token, wanted, chat_id, screen, continues=continues)


@click.command()
@click.argument("question", required=False)
@click.option("--model", help="Who answers. Default: the model of the last conversation, else `demo`. With a QUESTION: to that one alone.")
@click.option("--chat", "chat_id", metavar="ID", help="Go on with this chat: its id, or `last`.")
@click.option("--continue", "continues", is_flag=True, help="Go on with answers whose server stops, and first with one that was cut off.")
@options
def chat(target: Target, question: str | None, model: str | None, chat_id: str | None, continues: bool) -> None:
    """Talk with a model. With a QUESTION (or a pipe): one answer, and the end.

    The answer runs on the server, and Ctrl-C stops it. If you lose the line, it goes on at the exact word. If the server is stopped,
    answers have `STENO_DRAIN_S` (10 s) to finish. What is unfinished then, or when the server crashes, is kept to the last word and marked
    as interrupted: press Enter, or pass `--continue`, and the model goes on from there as soon as a server runs again.
    """
    screen = Terminal()
    if question is None and not sys.stdin.isatty():
        piped = sys.stdin.read()
        question = piped if piped.strip() or not continues else None
    if question is not None and not question.strip():
        raise click.UsageError("the question is empty")
    named = chat_id or ("last" if continues and question is None else None)
    conversation = run(open_conversation(target, model, named, screen, remembers=question is None, continues=continues))
    if question is not None:
        answer_once(conversation, conversation.ask(question))
        return
    if continues:
        went_on = go_on_first(conversation)
        if not sys.stdin.isatty():
            raise Exit(0 if went_on and conversation.cut_off is None else 1)
        if not went_on and chat_id is None:
            conversation.chat_id = None  # a new one
    converse(conversation)


def go_on_first(conversation: Conversation) -> bool:
    """Go on with what was cut off before. False, and it is said, where the newest answer is whole."""
    try:
        outcome = run(conversation.go_on_from_before())
    except ConversationLeft:
        raise Exit(130) from None
    if outcome is None:
        click.secho("There is nothing to continue: the newest answer is whole.", dim=True, err=True)
    return outcome is not None


def answer_once(conversation: Conversation, asking: Coroutine[Any, Any, str]) -> None:
    try:
        outcome = run(asking)
    except ConversationLeft:
        outcome = "cancelled"
    if outcome == "interrupted":
        click.secho(f"Continue it:  steno chat --chat {conversation.chat_id} --continue", dim=True, err=True)
    if outcome == "cancelled":
        raise Exit(130)
    if outcome != "message_end":
        raise Exit(1)


def converse(conversation: Conversation) -> None:
    """Questions from the terminal until the person leaves."""
    import readline  # noqa: F401  # gives input() a history and line editing

    click.secho(f"{safe_line(conversation.model)} at {conversation.target.url} · /help", dim=True)
    while True:
        try:
            line = typed()
        except EOFError:
            click.echo()
            break
        except KeyboardInterrupt:
            click.echo()
            goodbye(conversation)
            raise Exit(130) from None
        if line in ("/quit", "/exit"):
            break
        cut_off = conversation.cut_off
        try:
            obey(conversation, line)
            if conversation.cut_off not in (None, cut_off):
                click.secho("Enter continues it · /retry asks again", dim=True)
        except (ConversationLeft, KeyboardInterrupt):
            goodbye(conversation)
            raise Exit(130) from None
        except ClientError as error:
            click.secho(safe(error_text(error)), fg="red", err=True)
        except Failed as failed:
            failed.show()
    goodbye(conversation)


def typed() -> str:
    """What was typed, or all lines of what was pasted at once."""
    lines = [input("\001\033[1m\002> \001\033[0m\002")]  # \001 and \002 tell readline what takes no room
    while select.select([sys.stdin], [], [], PASTED_WITHIN_S)[0]:  # nobody types the next line so soon
        try:
            lines.append(input())
        except EOFError:
            break
    return "\n".join(lines).strip()


def obey(conversation: Conversation, line: str) -> None:
    """One line that was typed. Raises ``ConversationLeft``, ``ClientError``, ``Failed``."""
    command, _, argument = line.partition(" ")
    match command:
        case "" | "/continue" if conversation.cut_off is not None:
            asyncio.run(conversation.go_on())
        case "":
            pass
        case "/continue":
            raise Failed("There is no answer that was cut off.")
        case "/help":
            click.echo(HELP, nl=False)
        case "/retry":
            asyncio.run(conversation.retry())
        case "/model":
            asyncio.run(choose(conversation, argument.strip()))
        case _ if command.startswith("/") and "/" not in command[1:]:
            raise Failed(f"There is no {command}. /help lists what there is.")
        case _:
            try:
                asyncio.run(conversation.ask(line))
            except ApiError as refused:
                if refused.code == "model_not_found":
                    raise Failed(f"{refused.detail}\n/model lists what there is.") from None
                raise


async def choose(conversation: Conversation, model: str) -> None:
    async with conversation.client() as client:
        known = [str(one["id"]) for one in await client.models()]
    if not model:
        for one in known:
            click.echo(("* " if one == conversation.model else "  ") + safe_line(one))
        return
    conversation.model = model
    remember_model(conversation.target, model)
    click.secho(f"{safe_line(model)} answers from now on." + ("" if model in known else " (The server does not list it.)"), dim=True)


def goodbye(conversation: Conversation) -> None:
    if conversation.chat_id is not None:
        click.secho(f"Go on with:  steno chat --chat {conversation.chat_id}", dim=True)
