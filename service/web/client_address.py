"""The client's address, as far as it can be trusted."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

import structlog
from starlette.types import Scope

from service.runtime.once_per_minute import OncePerMinute
from service.settings.types import Network

Address = IPv4Address | IPv6Address

AUDIT_BITS = {4: 24, 6: 48}  # of an address that the audit keeps
LIMIT_BITS = {4: 32, 6: 64}  # of an address that share a rate limit: one host may use a whole /64
MAX_ADDRESS_LENGTH = 45  # characters: an IPv6 address with an IPv4 address at its end
# As Azure, IIS and Caddy write it: 192.0.2.7:51234, [2001:db8::7], [2001:db8::7]:443.
WITH_PORT = re.compile(r"([0-9.]{7,15}):[0-9]{1,5}|\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?")

log = structlog.get_logger()


class Client(NamedTuple):
    address: Address
    audit_network: str  # the /24 or /48
    limit_network: str  # the /32 or /64


class ClientAddresses:
    """Reads `X-Forwarded-For` only from `TRUSTED_PROXIES`, and takes its right-most address that is not
    itself one of them: the client may have invented whatever is to the left of that one."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted
        self._should_log = OncePerMinute()

    def audit_network(self, scope: Scope) -> str | None:
        """The part of the client's address that the audit keeps."""
        client = self.find(scope)
        return client.audit_network if client else None

    def limit_network(self, scope: Scope) -> str | None:
        """The network whose clients share a rate limit."""
        client = self.find(scope)
        return client.limit_network if client else None

    def find(self, scope: Scope) -> Client | None:
        peer = scope.get("client")
        nearest = _parse(peer[0]) if peer else None
        if not self._trusted or nearest is None or not self._is_trusted(nearest):
            return nearest
        for hop in reversed(_read_forwarded_for(scope)):
            further = _parse(_strip_port(hop))
            if further is None:
                if self._should_log():
                    log.warning("forwarded_for.unreadable", proxy=str(nearest.address), characters=len(hop))
                break
            nearest = further
            if not self._is_trusted(nearest):
                break
        return nearest

    def _is_trusted(self, client: Client) -> bool:
        return any(client.address in network for network in self._trusted)


def _strip_port(hop: str) -> str:
    match = WITH_PORT.fullmatch(hop)
    return match[1] or match[2] if match else hop


def _parse(text: str) -> Client | None:
    # The client chooses the header's length, and must not fill the cache with it.
    return _parse_cached(text) if len(text) <= MAX_ADDRESS_LENGTH else None


@lru_cache(maxsize=4096)
def _parse_cached(text: str) -> Client | None:
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    # Without a scope id (RFC 4007, section 11), which is any text.
    address = getattr(parsed, "ipv4_mapped", None) or type(parsed)(int(parsed))
    return Client(
        address,
        audit_network=_network(address, AUDIT_BITS[address.version]),
        limit_network=_network(address, LIMIT_BITS[address.version]),
    )


def _network(address: Address, bits: int) -> str:
    return str(ip_network((address, bits), strict=False))


def _read_forwarded_for(scope: Scope) -> list[str]:
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return [hop.strip() for hop in ",".join(lines).split(",") if hop.strip()]
