"""The service behind real proxies, which run with the examples' configurations."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.forks import ROOT
from tests.support.ports import free_port

EXAMPLES = ROOT / "examples" / "proxies"
ORIGIN = "https://app.example.com"
NGINX = """
daemon off;
pid {folder}/pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/example.conf;
}}
"""


@dataclass(frozen=True)
class Site:
    proxy: str
    port: int  # the proxy's
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/join"

    @property
    def log(self) -> str:
        return "".join((self.folder / name / "log").read_text() for name in ("service", "proxy"))


def _nginx(folder: Path, example: str) -> list[str]:
    (folder / "example.conf").write_text(example)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def _haproxy(folder: Path, example: str) -> list[str]:
    (folder / "haproxy.cfg").write_text(example)
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


def _caddy(folder: Path, example: str) -> list[str]:
    alone = example.replace("\n{\n", "\n{\n\tadmin off\n\tauto_https off\n", 1)
    (folder / "Caddyfile").write_text(alone)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def _varnish(folder: Path, example: str) -> list[str]:
    (folder / "example.vcl").write_text(example)
    listening = re.search(r"-a (:\d+)", example)
    assert listening
    return [
        *("varnishd", "-F", "-j", "none", "-n", str(folder / "state"), "-f", str(folder / "example.vcl")),
        *("-a", f"127.0.0.1{listening[1]}"),
    ]


PROXIES: dict[str, tuple[str, str, Callable[[Path, str], list[str]]]] = {
    "nginx": ("nginx.conf", "listen 8080", _nginx),
    "haproxy": ("haproxy.cfg", "bind :8080", _haproxy),
    "caddy": ("Caddyfile", "example.com {", _caddy),
    "varnish": ("varnish.vcl", "-a :8080", _varnish),
}


@contextmanager
def started(
    proxy: str, *, migrated_file: Path, folder: Path, replace: tuple[str, str] = ("", ""), **environment: str
) -> Iterator[Site]:
    """The service, and a proxy with the example in which that text is replaced."""
    if shutil.which("varnishd" if proxy == "varnish" else proxy) is None:
        pytest.skip(f"there is no {proxy} here: apt-get install {proxy}")
    (folder / "data").mkdir()
    shutil.copy(migrated_file, folder / "data" / "service.db")
    api, site = free_port(), Site(proxy, free_port(), folder)
    settings = {
        "DATA_DIR": str(folder / "data"),
        "PORT": str(api),
        "PUBLIC_URL": site.url,
        "TRUSTED_PROXIES": "127.0.0.1",
        "CORS_ORIGINS": ORIGIN,
        "WORKER": "false",
        **environment,
    }
    service = [sys.executable, "-m", "service", "serve"]
    with _running("service", service, folder=folder, port=api, environment=settings):
        file, listening, command = PROXIES[proxy]
        example = (EXAMPLES / file).read_text()
        for old, new in (
            (f"{listening}", _listen(listening, site.port)),
            ("127.0.0.1:8000", f"127.0.0.1:{api}"),
        ):
            assert old in example
            example = example.replace(old, new)
        example = example.replace(*replace) if replace[0] else example
        (folder / "proxy").mkdir()
        with _running("proxy", command(folder / "proxy", example), folder=folder, port=site.port):
            yield site


def _listen(example: str, port: int) -> str:
    return f"http://:{port} {{" if example == "example.com {" else example.replace("8080", str(port))


@contextmanager
def _running(
    name: str, command: list[str], *, folder: Path, port: int, environment: dict[str, str] | None = None
) -> Iterator[None]:
    (folder / name).mkdir(exist_ok=True)
    with (folder / name / "log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder / name,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "HOME": str(folder),
                **(environment or {}),
            },
            stdout=log,
            stderr=log,
        )
    try:
        _wait(process, port, log=folder / name / "log")
        yield
    finally:
        process.terminate()
        process.wait(30)


def _wait(process: "subprocess.Popen[bytes]", port: int, *, log: Path) -> None:
    """Until it answers anything; a port is listened on before that."""
    deadline = time.monotonic() + 30
    while True:
        assert process.poll() is None, log.read_text()
        try:
            httpx.get(f"http://127.0.0.1:{port}/", timeout=30)
        except httpx.TransportError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return
