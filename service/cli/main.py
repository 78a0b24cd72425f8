"""The program: its commands, and what it says when one fails.

`--help` answers at once: each command imports what it runs with only when it runs.
"""

from typing import Annotated

import typer

from service import __version__
from service.cli.audit import audit
from service.cli.backup import backup
from service.cli.check import check, send_test
from service.cli.common import examples, explain
from service.cli.migrate import migrate
from service.cli.openapi import openapi
from service.cli.outbox import outbox
from service.cli.output import complain, say
from service.cli.serve import serve
from service.cli.up import up
from service.cli.users import users
from service.cli.worker import worker

app = typer.Typer(
    name="signup-service",
    help="A signup API that answers at once and delivers every welcome email.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # whose help costs a tenth of a second, and cannot be piped
)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"signup-service {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


app.command(epilog=examples("up", "up --relay"))(up)
app.command(epilog=examples("serve", "serve --workers 2"))(serve)
app.command(epilog=examples("worker"))(worker)
app.command(epilog=examples("migrate"))(migrate)
app.command(epilog=examples("backup service-backup.db"))(backup)
app.command(epilog=examples("check"))(check)
app.command(epilog=examples("openapi"))(openapi)
app.command(epilog=examples("send-test you@your-domain.example"))(send_test)
app.add_typer(outbox, name="outbox")
app.add_typer(users, name="users")
app.add_typer(audit, name="audit")


def main() -> None:
    """An error is one sentence with the fix, and a non-zero exit status."""
    try:
        app(prog_name="signup-service")
    except Exception as exc:
        sentence = explain(exc)
        if sentence is None:
            raise
        complain(sentence)
        raise SystemExit(1) from exc
