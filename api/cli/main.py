"""``steno``: the command line. What the commands do is in ``api/cli/``.

Exit codes: 0 done, 1 failed, 2 not understood, 130 ended by Ctrl-C. Of ``verify``: 1 damage found, 2 could not be verified.
"""

from importlib import metadata
from typing import Any

import rich_click as click

from api.cli.accounts import accounts, keys
from api.cli.channels.channels import channel, channels
from api.cli.chat.chat import chat
from api.cli.chat.replay import replay
from api.cli.chat.tail import tail
from api.cli.login import Failed
from api.cli.operating import server
from api.cli.operating.analytics import analytics
from api.cli.operating.front_end import front_end
from api.cli.operating.projections import projections
from api.cli.operating.stats import stats
from api.cli.operating.verify import verify
from api.cli.transfer.exporting import export
from api.cli.transfer.importing import import_

click.rich_click.USE_MARKDOWN = True
click.rich_click.COMMAND_GROUPS = {
    "steno": [
        {"name": "Talk", "commands": ["chat", "chats", "channel", "channels", "models"]},
        {"name": "Look", "commands": ["tail", "replay", "stats", "export", "import"]},
        {"name": "Run", "commands": ["serve", "front-end", "projections", "analytics", "verify", "epoch"]},
        {"name": "Accounts", "commands": ["login", "logout", "whoami", "user", "key", "session"]},
    ]
}


def version_of(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "(a checkout that is not installed)"


class Steno(click.RichGroup):
    """Exits with 130 where click would exit with 1, so that a script can tell an interrupt from a failure."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo(err=True)
            ctx.exit(130)
        except Failed as failed:
            failed.show()  # plain lines, without the box that click's own errors get: a command in it can be copied
            ctx.exit(failed.exit_code)


@click.group(cls=Steno, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version_of("stenograph"), prog_name="steno")
def main() -> None:
    """Stenograph: chats that never lose a word.

    Begin with `steno serve` in one terminal and `steno chat` in another.
    """


for command in (
    chat,
    channel,
    channels,
    tail,
    replay,
    stats,
    export,
    import_,
    server.serve,
    server.epoch,
    front_end,
    projections,
    analytics,
    verify,
    accounts.login,
    accounts.logout,
    accounts.whoami,
    accounts.user,
    keys.key,
    keys.session,
    accounts.models,
    accounts.chats,
):
    main.add_command(command)
