"""Runs the ``sh`` blocks of a page as a reader would type them: in one shell, in a folder of its own, against a server of the tests.

What a page says of a reader's machine is replaced by what is there: the port 8080, the path of ``steno``, the address of a database.
``steno serve`` runs in the background, and the next command is run once the server is ready; it is stopped when the page ends.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from adapters.embedded.host import binaries_for
from tests.docs.pages import fences

TIMEOUT_S: Final = 300.0
READY_POLLS_MAX: Final = 600  # of 0.1 s

PRELUDE: Final = f"""
set -euo pipefail
servers=()
finish() {{
    for pid in "${{servers[@]}}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}}
trap finish EXIT
is_ready() {{  # with so many processes; a single one has no figures by worker
    curl --silent --fail --output ready.json "http://127.0.0.1:$STENO_PORT/ready" || return 1
    [[ $1 == 1 ]] || [[ $(curl --silent "http://127.0.0.1:$STENO_PORT/metrics" | grep -c '^stenograph_worker_silent_seconds{{') == "$1" ]]
}}
steno() {{
    if [[ "$1" != serve ]]; then
        command steno "$@"
        return
    fi
    command steno "$@" > serve.log 2>&1 &
    servers+=($!)
    local - && set +x
    local workers=$(sed -n 's/.*--workers \\([0-9]*\\).*/\\1/p' <<< "$*")
    for _ in $(seq {READY_POLLS_MAX}); do
        is_ready "${{workers:-1}}" && return
        kill -0 "${{servers[-1]}}" || break
        sleep 0.1
    done
    cat serve.log
    return 1
}}
set -x
"""


def commands_of(page: Path) -> str:
    return "\n".join(fence.content for fence in fences(page) if fence.info == "sh")


def environment(folder: Path, port: int, data: Path, **more: str) -> dict[str, str]:
    """Of a reader with a home in ``folder``: nothing of this process's own settings."""
    binaries = [str(Path(sys.executable).parent), str(binaries_for(folder, None))]
    return {
        "PATH": os.pathsep.join([*binaries, os.environ["PATH"]]),
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "LANG": "C.UTF-8",
        "COLUMNS": "100",
        "STENO_PORT": str(port),
        "STENO_DATA": str(data),
        **more,
    }


def run(script: str, folder: Path, environ: Mapping[str, str], replaced: Mapping[str, str]) -> str:
    """The script's output. Fails with all of it if a command fails."""
    for written, there in {"127.0.0.1:8080": f"127.0.0.1:{environ['STENO_PORT']}", ".venv/bin/steno": "steno", **replaced}.items():
        script = script.replace(written, there)
    done = subprocess.run(
        ["bash", "-c", PRELUDE + script],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"the commands ended with {done.returncode}:\n{done.stdout}"
    return done.stdout
