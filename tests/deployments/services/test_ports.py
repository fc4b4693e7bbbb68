"""Busy ports: a preferred one moves, one that was asked for is an error that names the process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from deployments.services.ports import choose, free_port
from tasks.errors import EnvironmentUnusable


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_free_preferred_port_is_taken_as_it_is() -> None:
    port = free_port()
    assert choose("mlflow", asked=None, preferred=port) == (port, "")


def test_a_busy_preferred_port_moves_and_says_so(busy: int) -> None:
    chosen = choose("mlflow", asked=None, preferred=busy)
    assert chosen.port > busy
    assert f"instead of {busy}" in chosen.note
    assert f"process {os.getpid()}" in chosen.note


def test_a_port_given_to_another_service_is_not_given_twice() -> None:
    port = free_port()
    chosen = choose("gateway", asked=None, preferred=port, taken=frozenset({port}))
    assert chosen.port != port
    assert "another service" in chosen.note


def test_a_busy_port_that_was_asked_for_is_an_error_with_its_holder(busy: int) -> None:
    with pytest.raises(EnvironmentUnusable) as caught:
        choose("gateway", asked=busy, preferred=8800)
    error = caught.value
    assert error.exit_code == 50
    assert error.where == f"127.0.0.1:{busy}"
    assert f"process {os.getpid()}" in error.why
    assert "--gateway-port" in error.remedy


@pytest.mark.parametrize("port", [70000, 99999])
def test_a_port_that_does_not_exist_is_an_error(port: int) -> None:
    with pytest.raises(EnvironmentUnusable, match="port for prefect"):
        choose("prefect", asked=port, preferred=4200)
