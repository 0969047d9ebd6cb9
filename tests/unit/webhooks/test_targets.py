"""Where webhooks may go: public addresses, whatever a URL or a name says."""

from __future__ import annotations

import socket

import pytest

from deal_sdk.errors import InvalidInputError
from deal_sdk.webhooks.targets import RefusedTargetError, check_url, checked_socket, is_public

PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "255.255.255.255", "192.0.2.1", "240.0.0.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::1", "2002:a9fe:a9fe::"),
    *("", "localhost", "127.1", "2130706433", "0x7f.1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_everything_else_is_private(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254"])
def test_a_socket_is_refused_for_the_address_that_it_would_connect_to(address: str) -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 443))
    with pytest.raises(RefusedTargetError):
        checked_socket(allow_private_networks=False)(info)
    checked_socket(allow_private_networks=True)(info).close()


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https://",
        "https://example.com:port/",
        "https://[::1/",
        "https://user@example.com/",
        "https://example.com/#part",
        "https://example.com/ path",
        "https://exämple.com/",
        "https://localhost/",
        "https://api.localhost:8443/",
        "https://metadata.google.internal/",
        "https://10.0.0.1/",
        "https://[::ffff:10.0.0.1]/",
        "https://example.com/" + "x" * 2_048,
        "",
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_url(url, allow_private_networks=False)
    assert len(url) < 10 or url not in str(caught.value.to_dict())


def test_private_networks_can_be_allowed() -> None:
    for url in ("http://127.0.0.1:8000/hook", "https://receiver.internal/hook"):
        assert check_url(url, allow_private_networks=True) == url
    assert check_url("https://example.com/hook?token=1", allow_private_networks=False)
