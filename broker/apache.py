"""A real Apache Kafka on this machine, without Docker and without an installed Java.

The nodes run in KRaft mode on free ports of 127.0.0.1 and keep their data in a temporary folder. The first start of all
leaves an archive of its classes: another start then takes a third of the time.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from broker.errors import BrokerError
from broker.java import first_start, java_command, tell_nobody
from broker.ports import free_ports

_UP_SECONDS = 60.0
_STOP_SECONDS = 15.0
_ARCHIVE_SECONDS = 120.0
_TAIL_LINES = 20
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)


class ApacheKafka:
    """Apache Kafka from `with` to its end: the process of each node, its data and its log.

    Start it in a thread that lives as long as the broker is needed: the kernel kills the nodes when that thread ends.

    Args:
        nodes: How many brokers (each is a controller too). With three, topics get three copies.
        properties: Settings of `server.properties`, over the defaults below.
        client: librdkafka settings needed to connect, where `properties` ask for a login.
        listeners: More doors than the plain one at `address`: the protocol of each by its name, in capitals; what else
            Kafka must know of one goes into `properties`, under `listener.name.…`.
        progress: Told in words what takes its time while the jars are fetched.

    Attributes:
        address: Where it answers: host:port, for several nodes separated by commas.
        doors: As `address`, of each of `listeners`.
    """

    def __init__(
        self,
        *,
        nodes: int = 1,
        properties: Mapping[str, str] | None = None,
        client: Mapping[str, str] | None = None,
        listeners: Mapping[str, str] | None = None,
        progress: Callable[[str], None] = tell_nobody,
    ) -> None:
        self._progress = progress
        self._properties = dict(properties or {})
        self._client = dict(client or {})
        self._protocols = dict(listeners or {})
        ports = iter(free_ports((2 + len(self._protocols)) * nodes))
        self._ports = [(next(ports), next(ports)) for _ in range(nodes)]
        self._doors = {name: [next(ports) for _ in range(nodes)] for name in self._protocols}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._node_options: list[str] = []
        self.address = _addresses([port for port, _ in self._ports])
        self.doors = {name: _addresses(found) for name, found in self._doors.items()}

    def __enter__(self) -> Self:
        """Format the storage, start the nodes, and wait until they answer."""
        self._java = java_command(self._progress)
        if not self._node_options:
            _start_first(self._progress)
            self._java = java_command(self._progress)  # from the archive, also if another process has just made it
        self._folder = Path(tempfile.mkdtemp(prefix="fraud-kafka-"))
        try:
            cluster = urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
            for node in range(len(self._ports)):
                self._format(node, cluster)
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the nodes and delete what they stored."""
        self._end()

    def kill(self, node: int = 0) -> None:
        """SIGKILL a node: no goodbye, nothing flushed by it."""
        self._processes[node].kill()
        self._processes[node].wait()

    def pause(self, node: int = 0) -> None:
        """SIGSTOP a node, and see it stand still: its connections stay open and nobody answers them."""
        process = self._processes[node]
        process.send_signal(signal.SIGSTOP)
        # A thread that is at work may still answer until the last one has stopped.
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self, node: int = 0) -> None:
        """SIGCONT a paused node."""
        self._processes[node].send_signal(signal.SIGCONT)

    def revive(self, node: int = 0) -> None:
        """Start a killed node again, on the same data and ports, and wait until all answer."""
        self._start_node(node)
        self._wait_until_up()

    def restart(self) -> None:
        """Stop the nodes that run and start all of them again, on the same data and ports."""
        self._stop()
        self._start()

    def log(self, node: int = 0) -> str:
        """What a node has logged."""
        return self._log(node).read_text(errors="replace")

    @staticmethod
    def run_tool(main: str, *arguments: str, feed: str = "", seconds: float = 60) -> str:
        """Run one of Kafka's own command line tools, `org.apache.kafka.tools.…`, against any broker.

        Args:
            main: Its class.
            arguments: Its command line.
            feed: Its standard input.
            seconds: How long it may take.

        Returns:
            Its standard output.

        Raises:
            BrokerError: It failed.
        """
        # The command is made of our own paths; a tool's arguments are a caller's, and there is no shell.
        done = subprocess.run(  # noqa: S603
            [*java_command(), main, *arguments],
            input=feed,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode:
            msg = f"{main}: expected exit code 0, got {done.returncode}:\n{_tail(done.stderr or done.stdout)}"
            raise BrokerError(msg)
        return done.stdout

    def _format(self, node: int, cluster: str) -> None:
        properties = self._folder / f"{node}.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in self._server_properties(node).items()))
        # With = because one id of 64 begins with a dash.
        tool = [*self._java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties)]
        done = subprocess.run(tool, capture_output=True, text=True, check=False)  # noqa: S603  our own command
        if done.returncode:
            msg = f"kafka: expected its storage to be formatted, got:\n{_tail(done.stdout + done.stderr)}"
            raise BrokerError(msg)

    def _server_properties(self, node: int) -> dict[str, str]:
        client_port, controller_port = self._ports[node]
        copies = str(min(3, len(self._ports)))
        in_sync = "2" if len(self._ports) > 2 else "1"  # noqa: PLR2004  one of three may be gone
        ports = {"CLIENT": client_port, "CONTROLLER": controller_port}
        ports |= {name: found[node] for name, found in self._doors.items()}
        protocols = {"CLIENT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **self._protocols}
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, (_, port) in enumerate(self._ports))
        return {
            "process.roles": "broker,controller",
            "node.id": str(node),
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENT",
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items()),
            "log.dirs": str(self._folder / f"{node}.data"),
            "num.partitions": "4",
            "default.replication.factor": copies,
            "min.insync.replicas": in_sync,
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": in_sync,
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": in_sync,
            # A node that was killed may come back only after its session is over: not 9 seconds later.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # 128 MiB by default, of a heap of 512.
            "log.cleaner.dedupe.buffer.size": "4194304",
            **self._properties,
        }

    def _start(self) -> None:
        for node in range(len(self._ports)):
            self._start_node(node)
        self._wait_until_up()

    def _start_node(self, node: int) -> None:
        with self._log(node).open("ab") as log:
            self._processes[node] = subprocess.Popen(  # noqa: S603  our own command
                [*self._java, *self._node_options, "kafka.Kafka", str(self._folder / f"{node}.properties")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for us: we stop the broker after those who write to it.
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  one system call, prepared before the fork
            )

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + _UP_SECONDS
        client = AdminClient(
            {"bootstrap.servers": self.address, "log_level": 0, "reconnect.backoff.max.ms": 200, **self._client}
        )
        while True:
            for node, process in self._processes.items():
                if process.poll() is not None:
                    log = _tail(self.log(node))
                    msg = f"kafka: expected node {node} to come up, got exit code {process.returncode}:\n{log}"
                    raise BrokerError(msg)
            with contextlib.suppress(KafkaException):
                if len(client.list_topics(timeout=0.5).brokers) == len(self._ports):
                    return
            client.poll(0)
            if time.monotonic() > deadline:
                log = _tail(self.log())
                msg = f"kafka: expected an answer at {self.address} within {_UP_SECONDS:g} s, got none:\n{log}"
                raise BrokerError(msg)

    def _log(self, node: int) -> Path:
        return self._folder / f"{node}.log"

    def _stop(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)  # a paused one would not hear the next
                process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _end(self) -> None:
        self._stop()
        shutil.rmtree(self._folder, ignore_errors=True)


class _FirstStart(ApacheKafka):
    """Its node makes an archive of its classes when it ends."""

    def __init__(self, archive: Path) -> None:
        super().__init__()
        self._node_options = [f"-XX:AOTCacheOutput={archive}"]

    def finish(self) -> None:
        """End the node, and wait until it has ended."""
        self._processes[0].terminate()
        self._processes[0].wait(_ARCHIVE_SECONDS)


def _start_first(progress: Callable[[str], None]) -> None:
    """Have a first start leave its archive of classes, once for all later ones."""
    with first_start() as archive:
        if archive is None:
            return
        progress("starting Apache Kafka once, so that later starts take a third of the time")
        part = archive.with_suffix(".part")
        try:
            with _FirstStart(part) as kafka:
                kafka.finish()
            part.replace(archive)
        except (BrokerError, OSError, subprocess.TimeoutExpired):
            archive.touch()  # it starts without


def _addresses(ports: list[int]) -> str:
    return ",".join(f"127.0.0.1:{port}" for port in ports)


def _die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _tail(log: str) -> str:
    return "\n".join(log.splitlines()[-_TAIL_LINES:])
