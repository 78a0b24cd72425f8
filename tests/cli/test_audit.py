"""The commands on the audit log."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from service.database.engine import Database
from tests.support.audit import audit_log, change, entry_of, opened, store
from tests.support.commands import run
from tests.support.database import rows


@pytest.fixture
async def entries(database: Database, tmp_path: Path) -> None:
    """Four, the oldest first."""
    async with opened(audit_log(database, tmp_path / "audit")) as audit:
        for entry in (
            entry_of(timedelta(hours=5))._replace(request_id="first"),
            entry_of(timedelta(hours=4))._replace(request_id="second", status=500),
            entry_of(timedelta(hours=3))._replace(request_id="third", route="/signup"),
            entry_of(timedelta(minutes=1))._replace(request_id="fourth", route=None, status=500),
        ):
            audit.record(entry)
        await audit.move()


@pytest.mark.usefixtures("entries")
@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([], ["fourth", "third", "second", "first"]),
        (["--limit", "2"], ["fourth", "third"]),
        (["--request-id", "second"], ["second"]),
        (["--status", "500"], ["fourth", "second"]),
        (["--route", "/signup"], ["third"]),
        (["--since", "200m"], ["fourth", "third"]),
        (["--status", "500", "--since", "2h"], ["fourth"]),
        (["--status", "404"], []),
        (["--request-id", "sec"], []),
    ],
)
def test_entries_are_found_the_newest_first(
    database_url: str, tmp_path: Path, filters: list[str], found: list[str]
) -> None:
    listed = run("audit", "list", "--json", *filters, folder=tmp_path, DATABASE_URL=database_url)

    assert listed.returncode == (0 if found else 1), listed.stderr
    assert [json.loads(line)["request_id"] for line in listed.stdout.splitlines()] == found


@pytest.mark.usefixtures("entries")
@pytest.mark.parametrize("engine_name", ["sqlite"])
def test_a_list_for_programs_is_tabs_and_whole_ids(database_url: str, tmp_path: Path) -> None:
    listed = run("audit", "list", "--route", "/signup", folder=tmp_path, DATABASE_URL=database_url)

    heading, line = listed.stdout.splitlines()
    assert len(heading.split("\t")) == len(line.split("\t"))
    assert line.split("\t")[1:] == ["GET", "/signup", "200", "5", "third", "", "192.0.2.0/24"]


@pytest.mark.parametrize("filters", [["--since", "yesterday"], ["--status", "1000"], ["--status", "ok"]])
def test_a_filter_that_is_none_is_refused(tmp_path: Path, filters: list[str]) -> None:
    assert run("audit", "list", *filters, folder=tmp_path).returncode == 2


@pytest.mark.usefixtures("entries")
@pytest.mark.parametrize("engine_name", ["sqlite"])
async def test_what_is_no_entry_is_left_to_verify(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await change(database, "UPDATE audit_log SET instance = 'nobody\x1b[2J' WHERE seq = 3")

    listed, verified = (
        run("audit", command, folder=tmp_path, DATABASE_URL=database_url) for command in ("list", "verify")
    )

    assert (listed.returncode, listed.stdout) == (1, "")
    assert listed.stderr == (
        "An entry was altered so that it cannot be shown: `signup-service audit verify` names it.\n"
    )
    assert verified.returncode == 1
    assert "unexpected: entry 3 of instance nobody\\x1b[2J\n" in verified.stdout
    assert "Traceback" not in verified.stderr


async def test_verify_names_what_is_wrong_and_fails(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    for folder in ("one", "two"):
        await store(database, tmp_path / folder, [0] * 5)
    in_order = run("audit", "verify", folder=tmp_path, DATABASE_URL=database_url)
    await change(database, "DELETE FROM audit_log WHERE seq = 3")

    tampered = run("audit", "verify", folder=tmp_path, DATABASE_URL=database_url)

    instances = [str(row["instance"]) for row in await rows(database, "SELECT instance FROM audit_instances")]
    *heads, count = in_order.stdout.splitlines()
    assert (in_order.returncode, count) == (0, "entries: 10, instances: 2, faults: 0")
    assert [line.replace("-", "") for line in heads] == [
        f"instance {instance}: entries 1 to 5" for instance in sorted(i.replace("-", "") for i in instances)
    ]
    assert "AUDIT_KEY is not set" in in_order.stderr
    assert tampered.returncode == 1
    assert tampered.stdout.count("missing: entry 3") == 2
    assert tampered.stdout.endswith("entries: 8, instances: 2, faults: 2\n")
