"""Which port the site is served on."""

import socket
from collections.abc import Iterator

import pytest

from blog.server import free_port, port_number
from envs.errors import PublishError


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_the_next_free_port_is_taken(taken: int) -> None:
    assert taken < free_port(None, first=taken) < taken + 50


def test_a_wanted_port_that_is_taken_is_an_error(taken: int) -> None:
    with pytest.raises(PublishError, match=rf"port {taken} cannot be used .*\n  next: `\./inv blog\.serve --port 0`"):
        free_port(taken)


def test_any_free_port() -> None:
    assert free_port(0) > 0


@pytest.mark.parametrize("port", ["1.5", "1e3", "４０００", "65536", "-1", " 1", "http", "nan", "1_0", None])
def test_a_port_is_an_ascii_whole_number(port: object) -> None:
    with pytest.raises(PublishError, match="--port takes a whole number from 0 to 65535"):
        port_number("--port", port)


def test_ports() -> None:
    assert [port_number("--port", port) for port in ("0", "4000", 4000, "65535")] == [0, 4000, 4000, 65535]


@pytest.mark.parametrize(("host", "why"), [("no.such.invalid", "is not known"), ("192.0.2.1", "is no address of this")])
def test_a_wrong_host_is_named(host: str, why: str) -> None:
    with pytest.raises(PublishError, match=rf"the host '{host}' {why}.*\n  next: `\./inv blog\.serve --host 127"):
        free_port(0, host=host)


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_number_that_is_no_port(port: int) -> None:
    with pytest.raises(PublishError, match="is no port number"):
        free_port(port)
