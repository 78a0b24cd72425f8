"""The command `openapi`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.main import app


def test_it_prints_the_document_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    printed = CliRunner().invoke(app, ["openapi"])

    assert printed.exit_code == 0
    assert json.loads(printed.stdout)["paths"]["/signup"]["post"]["operationId"] == "signUp"
    assert list(tmp_path.iterdir()) == []
