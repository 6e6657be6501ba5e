"""``python -m api.cli``: the same as ``steno``."""

from api.cli.main import main

main(prog_name="steno")
