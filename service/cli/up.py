"""The command `up`: everything in one process, for a first try and for development."""

from typing import Annotated

import typer

from service.cli.common import run
from service.cli.output import say


def up(
    relay: Annotated[bool, typer.Option("--relay", help="Mail through SMTP_HOST, to real people.")] = False,
) -> None:
    """Run everything in one process: API, delivery, and an inbox that catches all mail."""
    from service.cli import all_in_one
    from service.observability import logs
    from service.settings.loading import load

    configured = load() if relay else load(**all_in_one.inbox_settings())
    logs.configure(configured)
    if relay:
        configured.require_production_values()
    run(all_in_one.run_all(configured, say=say, with_inbox=not relay))
