"""The first load of Open WebUI's page in Chromium: an empty profile each time, driven by the DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/
"""

import asyncio
import json
import shutil
import signal
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

SHOWN: Final = "#chat-input"  # where one writes: it is there once the page can be used
POLL_S: Final = 0.02
TIMEOUT_S: Final = 60.0
# Notes when it is first shown, in milliseconds since the page was asked for.
NOTES: Final = """
localStorage.token = TOKEN;
new MutationObserver(() => {
  if (window.shownMs === undefined && document.querySelector(SHOWN)) window.shownMs = performance.now();
}).observe(document, {childList: true, subtree: true});
"""
SAYS: Final = """
window.shownMs === undefined ? null : [window.shownMs, ...performance.getEntries().filter((one) => 'transferSize' in one).reduce(
  ([count, bytes], one) => [count + 1, bytes + one.transferSize], [0, 0])]
"""


def chromium() -> str | None:
    """The program; None where it is not installed."""
    return shutil.which("chromium")


async def first_load(program: str, profile: Path, url: str, token: str) -> tuple[float, int, int]:
    """Milliseconds from the request of the page to where it can be used; how many responses it took; how many bytes."""
    arguments = ["--headless=new", "--no-sandbox", "--no-first-run", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        program, *arguments, "about:blank", stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
    )
    try:
        async with asyncio.timeout(TIMEOUT_S), connect(await debugger(profile), max_size=None) as browser:
            target = await said(browser, "Target.createTarget", {"url": "about:blank"})
            session = (await said(browser, "Target.attachToTarget", {**target, "flatten": True}))["sessionId"]
            notes = NOTES.replace("TOKEN", json.dumps(token)).replace("SHOWN", json.dumps(SHOWN))
            await said(browser, "Page.enable", {}, session)
            await said(browser, "Page.addScriptToEvaluateOnNewDocument", {"source": notes}, session)
            await said(browser, "Page.navigate", {"url": url}, session)
            while True:
                answer = await said(browser, "Runtime.evaluate", {"expression": SAYS, "returnByValue": True}, session)
                if answer["result"].get("value"):
                    shown_ms, count, size = answer["result"]["value"]
                    return shown_ms, count, size
                await asyncio.sleep(POLL_S)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()


async def debugger(profile: Path) -> str:
    """Where it listens, once it does."""
    file = profile / "DevToolsActivePort"
    while True:
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        await asyncio.sleep(POLL_S)


async def said(browser: ClientConnection, method: str, params: dict[str, Any], session: str | None = None) -> Any:
    """The result of a method. Raises ``RuntimeError`` where there is none."""
    on = {"sessionId": session} if session is not None else {}
    await browser.send(json.dumps({"id": 1, "method": method, "params": params, **on}))
    while True:
        answer = json.loads(await browser.recv())
        if "id" in answer:  # one call at a time; all else are events
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            return answer["result"]
