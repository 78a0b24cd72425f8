"""`make audit` and `make sbom`."""

from pathlib import Path
from typing import Annotated

import typer

from tools import sbom as bill
from tools.audit import Unreachable, Unsafe
from tools.audit import audit as look
from tools.lock import pins

LOCK = Path("requirements.lock")
SBOM = Path("sbom.json")

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def audit(
    lock: Annotated[Path, typer.Argument()] = LOCK,
    unless_unreachable: Annotated[
        bool, typer.Option("--unless-unreachable", help="Succeed, and say so, where nobody can be asked.")
    ] = False,
) -> None:
    """Fail if a pinned package has a known vulnerability, or was not audited."""
    pinned = pins(lock)
    try:
        look(pinned)
    except Unsafe as exc:
        _fail(str(exc))
    except Unreachable as exc:
        sentence = f"NOTHING WAS AUDITED: the advisory service cannot be asked from here ({exc})."
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
