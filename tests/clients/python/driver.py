"""What the scripts share: they are given one JSON object, and print one."""

import json
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

GIVEN: dict[str, Any] = json.loads(sys.argv[1])
URL: str = GIVEN["url"]
TOKEN: str = GIVEN["token"]


def caught(call: Callable[[], Any]) -> dict[str, Any]:
    """The exception that the client raised: its class, and what the class says of status, code and waiting."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what the test asks for
        return described(error)
    return {"type": None}


async def caught_in(call: Awaitable[Any]) -> dict[str, Any]:
    """The same of something that is awaited."""
    try:
        await call
    except Exception as error:  # noqa: BLE001  # the same
        return described(error)
    return {"type": None}


def described(error: BaseException) -> dict[str, Any]:
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None) or {}
    return {
        "type": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "retry_after": headers.get("retry-after"),
        "text": str(error)[:500],
    }


def finish(package: str, **result: Any) -> None:
    print(json.dumps({"client": package, "version": version(package), **result}))
