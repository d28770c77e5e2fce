"""Which port the site is served on."""

import socket
from collections.abc import Iterator

import pytest

from blog.server import free_port
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


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_number_that_is_no_port(port: int) -> None:
    with pytest.raises(PublishError, match="is no port number"):
        free_port(port)
