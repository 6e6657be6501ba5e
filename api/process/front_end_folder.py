"""Where Open WebUI's page lies: where the settings say, in the data folder, or in the package ``open-webui`` where that is installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from api.settings import Settings

INSTALLED: Final = "front-end"  # below the data folder; ``steno front-end install`` puts it there
FOLDER: Final = "frontend"  # of the wheel's package
PACKAGE: Final = "open_webui"
PAGE: Final = "index.html"


class FrontEndMissing(Exception):  # as ``CannotListen``
    """A folder that the settings name and that holds no page."""


def with_front_end(settings: Settings) -> Settings:
    """The settings with the folder that is served. Raises ``FrontEndMissing`` where they name one that holds no page."""
    if settings.front_end is not None:
        if not (settings.front_end / PAGE).is_file():
            raise FrontEndMissing(
                f"STENO_FRONT_END: {settings.front_end.absolute()} holds no {PAGE}. Name the folder 'frontend' of the package open-webui."
            )
        return settings
    found = next((folder for folder in candidates(settings.data) if (folder / PAGE).is_file()), None)
    return settings if found is None else msgspec.structs.replace(settings, front_end=found)


def candidates(data: Path) -> list[Path]:
    spec = find_spec(PACKAGE)
    packaged = [Path(spec.origin).parent / FOLDER] if spec is not None and spec.origin is not None else []
    return [data / INSTALLED / FOLDER, *packaged]
