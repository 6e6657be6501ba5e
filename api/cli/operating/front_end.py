"""``steno front-end``: Open WebUI's page, from its own package, for this server."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

import rich_click as click

from api.cli.login import Failed
from api.cli.operating.server import data_option, settings_with
from api.process.front_end_folder import FOLDER, INSTALLED, PACKAGE, PAGE

VERSION: Final = "0.12.4"  # which the tests drive
NOT_UNPACKED: Final = (".map",)  # source maps: a third of all, and no page asks for them
LICENCES: Final = ("LICENSE", "LICENSE_HISTORY", "LICENSE_NOTICE")


@click.group("front-end")
def front_end() -> None:
    """Open WebUI's page, served by this server."""


@front_end.command()
@click.option("--version", default=VERSION, show_default=True, help="Which version of `open-webui`.")
@click.option("--wheel", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its wheel, where you have it already.")
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), help="The folder to unpack to; default: in the data folder.")
@data_option
def install(version: str, wheel: Path | None, to: Path | None, data: Path | None) -> None:
    """Download the package `open-webui` with pip (100 MB) and unpack its page alone, with its licence.

    A server that starts with this data folder serves it at `/`. Its licence lets nobody change or hide its name and its logo.
    """
    folder = to or settings_with({"data": data}).data / INSTALLED
    with tempfile.TemporaryDirectory() as temporary:
        found = wheel or downloaded(version, Path(temporary))
        try:
            count = unpack(found, folder)
        except (OSError, zipfile.BadZipFile) as error:
            raise Failed(f"{found.name} could not be unpacked to {folder.absolute()}: {error}") from None
    click.echo(f"{count:,} files of Open WebUI's page are in {folder.absolute()}. A server that is started now serves them.")


def downloaded(version: str, folder: Path) -> Path:
    """Raises ``Failed`` with what pip said."""
    click.echo(f"Downloading open-webui {version} …", err=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check"]
    done = subprocess.run([*command, "--no-input", "--dest", folder, f"open-webui=={version}"], capture_output=True, text=True, check=False)  # noqa: S603
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("WARNING"))
        raise Failed(f"pip could not download open-webui {version}:\n{said or done.stdout}")
    return wheels[0]


def unpack(wheel: Path, folder: Path) -> int:
    """The number of files. What was there before is replaced at the end. Raises ``OSError``, ``BadZipFile``, ``Failed``."""
    prefix = f"{PACKAGE}/{FOLDER}/"
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    new.chmod(0o755)
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [one for one in archive.namelist() if one.startswith(prefix) and not one.endswith((*NOT_UNPACKED, "/"))]
            if prefix + PAGE not in members:
                raise Failed(f"{wheel.name} holds no {prefix}{PAGE}: is it a wheel of open-webui?")
            for member in members:
                put(archive, member, new / FOLDER / member.removeprefix(prefix))
            for member in archive.namelist():
                if Path(member).name in LICENCES and ".dist-info/" in member:
                    put(archive, member, new / Path(member).name)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return len(members)


def put(archive: zipfile.ZipFile, member: str, to: Path) -> None:
    if ".." in Path(member).parts:
        raise Failed(f"the wheel holds a path that leads out of it: {member[:200]!r}")
    to.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, to.open("wb") as target:
        shutil.copyfileobj(source, target)
