"""Questions to the person at the terminal. Ctrl-C ends each of them at once, also within ``asyncio.run``."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import rich_click as click


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C raises ``KeyboardInterrupt`` where it is pressed.

    asyncio's own handler only cancels the task that waits, and the one that waits for a person to type goes on until they press Enter.
    """
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)


def ask(text: str, *, default: str | None = None, checked: Callable[[str], str] | None = None) -> str:
    """What is typed. Raises ``click.Abort`` at Ctrl-C and at the end of the input."""
    with interruptible():
        typed: str = click.prompt(text, default=default, value_proc=checked, err=True)
    return typed


def ask_password(text: str = "Password", *, again: str | bool = False) -> str:
    """The same, without showing it. ``again``: how it is asked for a second time."""
    with interruptible():
        typed: str = click.prompt(text, hide_input=True, confirmation_prompt=again, err=True)
    return typed


def confirm(text: str) -> bool:
    """The same for yes and no; Enter alone is no."""
    with interruptible():
        answer: Any = click.confirm(text, default=False, err=True)
    return bool(answer)
