"""The commands behind `make audit` and `make sbom`."""

from pathlib import Path
from typing import Annotated

import typer

from tools import sbom as bill
from tools import vulnerabilities
from tools.lock_file import pins

LOCK = Path("requirements.lock")
SBOM = Path("sbom.json")

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def audit(
    lock: Annotated[Path, typer.Argument()] = LOCK,
    unless_unreachable: Annotated[
        bool,
        typer.Option("--unless-unreachable", help="Succeed with a warning if no service answers."),
    ] = False,
) -> None:
    """Fail if a pinned package has a known vulnerability, or could not be audited."""
    pinned = pins(lock)
    try:
        vulnerabilities.check(pinned)
    except vulnerabilities.Unsafe as exc:
        _fail(str(exc))
    except vulnerabilities.Unreachable as exc:
        sentence = f"NOTHING WAS AUDITED: the advisory service cannot be used from here ({exc})."
        if not unless_unreachable:
            _fail(sentence)
        typer.echo(sentence, err=True)
    else:
        typer.echo(f"{len(pinned)} packages audited, none with a known vulnerability.")


@app.command()
def sbom() -> None:
    """Write sbom.json, and fail if a pinned package is not in it."""
    try:
        count = bill.write(LOCK, SBOM)
    except bill.Incomplete as exc:
        _fail(str(exc))
    typer.echo(f"{SBOM} lists {count} packages.")


def _fail(sentence: str) -> None:
    typer.echo(sentence, err=True)
    raise SystemExit(1)


if __name__ == "__main__":
    app()
