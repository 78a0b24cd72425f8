"""Where the API listens, and what is said if it cannot."""

import socket

import pytest

from service.settings import InvalidSettings
from service.web.server import PortInUse, listen


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@IPV6
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_wildcard_of_ipv6_takes_ipv4_too(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with listen("::", 0, setting="PORT") as listener, socket.socket(family) as client:
        client.connect((host, listener.getsockname()[1]))


@pytest.mark.parametrize("host", ["x86_64-conda-linux-gnu", "192.0.2.1"])
def test_a_host_that_is_not_this_machine_is_named(host: str) -> None:
    with pytest.raises(InvalidSettings, match=rf"^HOST is {host}, which is no address of this machine: set"):
        listen(host, 0, setting="PORT")


@pytest.mark.parametrize(
    ("host", "written"), [("127.0.0.1", "127.0.0.1"), pytest.param("::1", r"\[::1\]", marks=IPV6)]
)
def test_a_port_in_use_is_told_with_the_setting(host: str, written: str) -> None:
    with listen(host, 0, setting="PORT") as first:
        port = first.getsockname()[1]

        with pytest.raises(
            PortInUse,
            match=rf"^{written}:{port} cannot be used \(Address already in use\): .* or set PORT\.$",
        ):
            listen(host, port, setting="PORT")
