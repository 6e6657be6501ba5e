"""Settings that functions look at. Those that are about Open WebUI itself are not here."""

import logging
from typing import Final


class _Levels(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "INFO"


VERSION: Final = "0.6.43"  # of Open WebUI: what functions here can rely on
WEBUI_NAME: Final = "Stenograph"
GLOBAL_LOG_LEVEL: Final = "INFO"
SRC_LOG_LEVELS: Final[dict[str, str]] = _Levels()
AIOHTTP_CLIENT_TIMEOUT: Final = 300
AIOHTTP_CLIENT_TIMEOUT_MODEL_LIST: Final = 10
AIOHTTP_CLIENT_SESSION_SSL: Final = True
ENABLE_FORWARD_USER_INFO_HEADERS: Final = False
BYPASS_MODEL_ACCESS_CONTROL: Final = False
OFFLINE_MODE: Final = True
DEVICE_TYPE: Final = "cpu"
log: Final = logging.getLogger("open_webui")
