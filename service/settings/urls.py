"""Hosts, URLs and origins, spelled in one way."""

from ipaddress import ip_address
from urllib.parse import urlsplit

import idna

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104  # as values of HOST: all addresses of the machine
DEFAULT_PORTS = {"http": 80, "https": 443}


def host_in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def http_url(host: str, port: int) -> str:
    """What to type into a browser on this machine to reach a server that listens there."""
    name = "localhost" if host in WILDCARDS else host_in_url(host)
    return f"http://{name}" + ("" if port == DEFAULT_PORTS["http"] else f":{port}")


def origin_of(url: str) -> str:
    """The origin of a URL as browsers write it: lower case, IDNA, no default port. Raises ValueError."""
    parts = urlsplit(url)
    host = parts.hostname
    if not host:
        raise ValueError("it has no host")
    if not host.isascii():
        host = idna.encode(host, uts46=True).decode()
    port = "" if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host_in_url(host)}{port}"


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")  # RFC 6761, section 6.3
