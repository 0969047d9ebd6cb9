"""Where webhooks may go: URLs that are sound, and addresses that are nobody's private network.

Whoever may name a URL could otherwise make this process talk to its own host, to a cloud's metadata
service or to a database next door (server-side request forgery). A name proves nothing, because it may
resolve to another address at the next look: what is checked is the address of each connection.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from deal_sdk.errors import InvalidInputError
from deal_sdk.records.webhook_tables import MAX_URL_LENGTH

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
AddressInfo: TypeAlias = tuple[Any, Any, int, str, tuple[Any, ...]]


class RefusedTargetError(OSError):
    """An address that webhooks must not go to; it never leaves this area."""

    def __init__(self) -> None:
        """Say the same for every address, so that nothing is learned from it."""
        super().__init__("a private network is no target")


def check_url(url: str, *, allow_private_networks: bool) -> str:
    """Accept the URL of an endpoint.

    Args:
        url: https://, without credentials or fragment; http:// only where private networks are allowed.
        allow_private_networks: as the setting says.

    Raises:
        InvalidInputError: naming what is wrong; the URL is not repeated, for it may hold a token.
    """
    schemes = ("https", "http") if allow_private_networks else ("https",)
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or len(url) > MAX_URL_LENGTH:
        raise _refused(f"a webhook's URL is at most {MAX_URL_LENGTH} printable ASCII characters")
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise _refused("a webhook's URL is malformed") from None
    if parts.scheme not in schemes or not host or " " in url:
        raise _refused(f"a webhook's URL begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise _refused("a webhook's URL has no credentials and no fragment")
    if not allow_private_networks and _is_private_literal(host):
        raise _refused("a webhook's URL must not lead into a private network")
    return url


def is_public(address: str) -> bool:
    """Return whether an IP address is reachable for everybody, and not this machine or its neighbours."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    inner = _embedded(found)
    if inner is not None:
        return is_public(str(inner))
    return found.is_global and not found.is_multicast and not found.is_reserved


def checked_socket(*, allow_private_networks: bool) -> Callable[[AddressInfo], socket.socket]:
    """Return what opens a connection's socket after a look at the very address that it will connect to."""

    def open_socket(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _name, address = info
        if not allow_private_networks and not is_public(str(address[0])):
            raise RefusedTargetError
        return socket.socket(family=family, type=kind, proto=protocol)

    return open_socket


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address to which an IPv6 address is translated on its way."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _is_private_literal(host: str) -> bool:
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return not is_public(host)


def _refused(message: str) -> InvalidInputError:
    return InvalidInputError(message, field="url")
