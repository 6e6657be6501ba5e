"""The version of this server, as it is installed."""

from importlib.metadata import version
from typing import Final

VERSION: Final = version("stenograph")
