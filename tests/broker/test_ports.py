import os
import socket
from pathlib import Path

import pytest

from broker import ports
from broker.ports import free_ports

LOWEST = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def test_free_ports_are_different_ones_that_no_outgoing_connection_gets() -> None:
    found = free_ports(20)

    assert len(set(found)) == 20
    assert max(found) < max(LOWEST, 10_001)


def test_neighbours_among_processes_get_different_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = free_ports(300)
    next_one = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: next_one)
    neighbours = free_ports(300)

    assert not set(mine) & set(neighbours)


def test_a_port_that_is_taken_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (taken,) = free_ports(1)
    monkeypatch.setattr(ports, "_LOWEST", taken)
    monkeypatch.setattr(ports, "_SHARES", 1)
    monkeypatch.setattr(ports, "_RANGE", tmp_path / "range")
    (tmp_path / "range").write_text(f"{taken + 1}\t60999\n")
    with socket.create_server(("127.0.0.1", taken)):
        assert taken not in free_ports(1)


def test_ports_come_from_inside_the_range_where_it_leaves_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ports, "_RANGE", tmp_path / "range")
    (tmp_path / "range").write_text("1024\t65535\n")

    assert len(set(free_ports(20))) == 20
