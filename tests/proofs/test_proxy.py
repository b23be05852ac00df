import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import pytest

from broker.ports import free_ports
from proofs.proxy import Proxy


@contextmanager
def echo() -> Iterator[tuple[int, list[bytes]]]:
    """A server that says back what it hears, and keeps it."""
    heard: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    heard.append(data)
                    connection.sendall(data)
            except OSError:
                pass

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    with server:
        yield server.getsockname()[1], heard
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxied() -> Iterator[tuple[Proxy, socket.socket, list[bytes]]]:
    (port,) = free_ports(1)
    with echo() as (target, heard), Proxy(port, target) as proxy:
        client = socket.create_connection(("127.0.0.1", port), timeout=5)
        with client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
            yield proxy, client, heard


def cut(proxy: Proxy, how: str, seconds: float) -> tuple[threading.Thread, list[int]]:
    """Cut in a thread, so that something can be sent meanwhile."""
    hit: list[int] = []
    thread = threading.Thread(target=lambda: hit.append(proxy.cut(how, seconds)))
    thread.start()
    return thread, hit


def until_cut(client: socket.socket) -> bytes:
    """What still arrives before the reset."""
    got = b""
    try:
        while data := client.recv(65_536):
            got += data
    except ConnectionResetError:
        return got
    pytest.fail("expected a reset, got a goodbye")


def test_everything_goes_through_in_both_directions(proxied) -> None:
    _, client, _ = proxied
    data = bytes(range(256)) * 4_000
    threading.Thread(target=client.sendall, args=(data,)).start()
    got = b""
    while len(got) < len(data):
        got += client.recv(65_536)

    assert got == data


def test_answers_are_lost_though_the_request_went_through(proxied) -> None:
    proxy, client, heard = proxied
    thread, hit = cut(proxy, "no answer", 0.5)
    while not proxy_is_cut(proxy):
        pass
    client.sendall(b"write this")

    assert until_cut(client) == b""
    thread.join()
    assert (hit, heard[-1]) == ([1], b"write this")


def test_half_open_nothing_goes_through(proxied) -> None:
    proxy, client, heard = proxied
    thread, hit = cut(proxy, "half-open", 0.5)
    while not proxy_is_cut(proxy):
        pass
    client.sendall(b"write this")

    assert until_cut(client) == b""
    thread.join()
    assert (hit, heard) == ([1], [b"hello"])


def test_a_reset_comes_in_the_middle_of_what_is_sent(proxied) -> None:
    proxy, client, heard = proxied
    thread, _ = cut(proxy, "reset", 0.5)
    while not proxy_is_cut(proxy):
        pass
    client.sendall(b"1234567890")

    assert until_cut(client) in {b"", b"12", b"12345"}
    thread.join()
    assert b"".join(heard[1:]) in {b"", b"12345"}


def test_a_cut_that_meets_nobody_hit_nothing(proxied) -> None:
    proxy, _, _ = proxied

    assert proxy.cut("half-open", 0.01) == 0
    assert proxy.cut("reset", 0.01) == 0


def test_new_connections_go_through_after_a_cut(proxied) -> None:
    proxy, _, _ = proxied
    proxy.cut("half-open", 0.01)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        client.sendall(b"again")

        assert client.recv(100) == b"again"


def proxy_is_cut(proxy: Proxy) -> bool:
    return any(connection.cut for connection in list(proxy._connections))


def test_a_slow_line_takes_its_time() -> None:
    (port,) = free_ports(1)
    with (
        echo() as (target, heard),
        Proxy(port, target, bytes_per_second=1_000_000),
        socket.create_connection(("127.0.0.1", port), timeout=5) as client,
    ):
        began = monotonic()
        client.sendall(bytes(500_000))
        while sum(map(len, heard)) < 500_000:
            assert monotonic() - began < 5
            client.recv(65_536)

        assert monotonic() - began >= 0.4
