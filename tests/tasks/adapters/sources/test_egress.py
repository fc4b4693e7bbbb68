from __future__ import annotations

import pytest

from tasks.adapters.sources.egress import checked_addresses, forbidden, resolve
from tasks.errors import UsageError


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "0.0.0.0",
        "0.1.2.3", "255.255.255.255", "224.0.0.1", "240.0.0.1", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1",
        "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "::127.0.0.1", "2002:7f00:1::", "2002:a9fe:a9fe::", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "2001:db8::1", "2001:0:7f00:1::",
    ],
)  # fmt: skip
def test_addresses_inside_are_forbidden(address: str) -> None:
    assert forbidden(address, allow_private=False)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "2a00:1450::1"])
def test_addresses_of_the_internet_are_allowed(address: str) -> None:
    assert not forbidden(address, allow_private=False)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "fc00::1", "::ffff:10.0.0.1"])
def test_private_ones_can_be_allowed(address: str) -> None:
    assert not forbidden(address, allow_private=True)


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"],
)
def test_link_local_ones_never(address: str) -> None:
    assert forbidden(address, allow_private=True)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]"])
def test_every_spelling_of_this_machine_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="may not be asked"):
        checked_addresses(host, 80, resolve, allow_private=False)


def test_one_forbidden_address_among_others_is_enough() -> None:
    with pytest.raises(UsageError, match="may not be asked") as error:
        checked_addresses("e.com", 443, lambda _host, _port: ["93.184.216.34", "10.0.0.1"], allow_private=False)
    assert "10.0.0.1 is private" in error.value.why
