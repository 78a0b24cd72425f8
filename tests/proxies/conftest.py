from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxies.site import PROXIES, Site, started


@pytest.fixture(scope="session", params=PROXIES)
def site(
    request: pytest.FixtureRequest, migrated_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with started(request.param, migrated_file=migrated_file, folder=tmp_path_factory.mktemp("site")) as site:
        yield site
