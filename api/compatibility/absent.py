"""Lists of what is not here. They are empty, so that clients which ask for all of them at once go on."""

from typing import Any

from litestar import Controller, get


class AbsentController(Controller):
    path = "/api/v1"
    tags = ("absent",)

    @get(
        [
            *("/configs/banners", "/knowledge", "/memories", "/notes", "/notes/pinned"),
            *("/prompts", "/skills", "/terminals", "/tools", "/folders/shared"),
        ]
    )
    async def empty(self) -> list[dict[str, Any]]:
        """There are none of these."""
        return []
