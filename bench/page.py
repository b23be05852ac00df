"""What the live page costs while verdicts come: processor time, memory, and what its browsers get.

    python -m bench.page                                  # 20,000 events/s, 50 browsers, one minute
    python -m bench.page --minutes 20                     # does it grow?
    python -m bench.page --chromium                       # one of the browsers is a real one, and its share beside it

Starts a real Apache Kafka and a real `fraud web`. Events and their verdicts, which the engine gave before, are sent at
the rate: no dataflow runs beside it. The page's share of a core is from its own clock in /proc, so other work on the
machine changes it little.
"""

import argparse
import os
import re
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Producer
from playwright.sync_api import sync_playwright

from bench.throughput import ROOT, create, kafka
from detection.loading import load
from detection.program import Engine
from detection.records import Record, Verdict
from detection.settings import Settings
from simulation import TRAFFIC

PACK = ROOT / "packs" / "clicks.toml"
FRAUDS = 0.02
DIFFERENT = 50_000
"""Events, which are sent again and again."""
SLICE_SECONDS = 0.05
EVERY_SECONDS = 5
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


class Prepared(NamedTuple):
    """An event and its verdict, cut where the offset stands."""

    key: bytes
    event: bytes
    topic: str
    head: bytes
    tail: bytes


class Sample(NamedTuple):
    """One look at the page's process.

    Attributes:
        share: Of a core since the last look.
        megabytes: Resident memory.
        frames: What each browser got a second since the last look, the fewest and the most.
        browser: The real browser's share of a core, all its processes; None without one.
    """

    share: float
    megabytes: float
    frames: tuple[float, float]
    browser: float | None


def prepared() -> list[Prepared]:
    """Clicks with the verdicts that they get."""
    engine = Engine(load([PACK], Settings().topics))
    generate = TRAFFIC["clicks"].generator(1, FRAUDS)
    start = int(time.time() * 1000) - DIFFERENT
    found = []
    for offset in range(DIFFERENT):
        key, value = (click := generate((start + offset) * 1000)).key, click.value
        verdict = engine.judge(Record("clicks", 0, offset, start + offset, key, value))
        assert key is not None
        assert isinstance(verdict, Verdict)
        head, tail = verdict.value.split(b'"clicks/0/%d"' % offset, 1)
        found.append(Prepared(key, value, verdict.topic, head + b'"clicks/0/', b'"' + tail))
    return found


class Traffic:
    """Sends events and verdicts at a rate, in a thread of its own."""

    def __init__(self, broker: str, items: Sequence[Prepared], rate: int) -> None:
        self.sent = 0
        self._items = items
        self._rate = rate
        self._producer = Producer({"bootstrap.servers": broker, "linger.ms": 5, "compression.type": "lz4"})
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Send no more."""
        self._end.set()
        self._thread.join()
        self._producer.flush(10)

    def _run(self) -> None:
        size = max(1, int(self._rate * SLICE_SECONDS))
        due = time.monotonic()
        while not self._end.is_set():
            batches: dict[str, list[dict[str, bytes]]] = {"clicks": []}
            for number in range(self.sent, self.sent + size):
                item = self._items[number % DIFFERENT]
                batches["clicks"].append({"key": item.key, "value": item.event})
                verdict = b"%b%d%b" % (item.head, number, item.tail)
                batches.setdefault(item.topic, []).append({"key": item.key, "value": verdict})
            for topic, batch in batches.items():
                self._producer.produce_batch(topic, batch, partition=0)
            self._producer.poll(0)
            self.sent += size
            due += size / self._rate
            self._end.wait(max(0.0, due - time.monotonic()))


class Browsers:
    """Readers of the page's stream, which count its frames."""

    def __init__(self, port: int, number: int) -> None:
        self.frames = [0] * number
        self._selector = selectors.DefaultSelector()
        for index in range(number):
            one = socket.create_connection(("127.0.0.1", port))
            one.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n\r\n" % port)
            self._selector.register(one, selectors.EVENT_READ, index)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                assert isinstance(key.fileobj, socket.socket)
                read = key.fileobj.recv(1 << 20)
                if not read:
                    self._selector.unregister(key.fileobj)
                self.frames[key.data] += read.count(b"data: ")


@contextmanager
def page(broker: str) -> Iterator[tuple[int, int]]:
    """`fraud web`, as its id and port."""
    environment = {**os.environ, "KAFKA_BROKER_URL": broker, "FRAUD_PACKS": str(PACK)}
    command = [str(Path(sys.executable).with_name("fraud")), "web", "--port", "0"]
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        found = re.search(r":(\d+) until", told)
        if found is None:
            sys.exit(f"bench: expected the address of the page, got {told!r}")
        yield process.pid, int(found[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextmanager
def chromium(port: int) -> Iterator[int]:
    """The page in the system's Chromium; the id of its first process."""
    path = shutil.which("chromium") or sys.exit("bench: expected chromium in the PATH, got none")
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(profile, executable_path=path)
        try:
            context.pages[0].goto(f"http://127.0.0.1:{port}/")
            yield next(pid for pid in pids() if f"--user-data-dir={profile}" in command_of(pid))
        finally:
            context.close()


def pids() -> list[int]:
    """All processes."""
    return sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def command_of(pid: int) -> str:
    """With what it was started."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def seconds_of(pid: int) -> float:
    """The processor time of a process and those it has started, s."""
    total = 0.0
    family = {pid}
    for child in pids():
        try:
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if child in family or int(fields[1]) in family:
            family.add(child)
            total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def megabytes_of(pid: int) -> float:
    """Its resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_SIZE / 1e6


def watch(pid: int, browser: int | None, browsers: Browsers, seconds: float) -> Iterator[Sample]:
    """A look every few seconds."""
    end = time.monotonic() + seconds
    before = time.monotonic(), seconds_of(pid), list(browsers.frames), seconds_of(browser) if browser else 0.0
    while time.monotonic() < end:
        time.sleep(EVERY_SECONDS)
        now = time.monotonic(), seconds_of(pid), list(browsers.frames), seconds_of(browser) if browser else 0.0
        passed = now[0] - before[0]
        frames = [(new - old) / passed for new, old in zip(now[2], before[2], strict=True)]
        yield Sample(
            (now[1] - before[1]) / passed,
            megabytes_of(pid),
            (min(frames), max(frames)),
            (now[3] - before[3]) / passed if browser else None,
        )
        before = now


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=20_000, help="events a second")
    parser.add_argument("--browsers", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--chromium", action="store_true", help="and a real one")
    options = parser.parse_args()
    with ExitStack() as stack:
        broker = stack.enter_context(kafka())
        pack = load([PACK], Settings().topics)
        create(broker, [*pack.topics_in, *pack.topics_out, "fraud.dead-letters", "fraud.labels", "fraud.audit"])
        pid, port = stack.enter_context(page(broker))
        browser = stack.enter_context(chromium(port)) if options.chromium else None
        browsers = Browsers(port, options.browsers)
        items = prepared()
        traffic = Traffic(broker, items, options.rate)
        time.sleep(2 * EVERY_SECONDS)
        began, sent = time.monotonic(), traffic.sent
        samples = list(watch(pid, browser, browsers, options.minutes * 60))
        rate = (traffic.sent - sent) / (time.monotonic() - began)
        traffic.finish()
    half = samples[len(samples) // 2 :]
    frauds = sum(b'"fraudulent":true' in item.tail or b'"fraudulent":true' in item.head for item in items) / len(items)
    print(
        f"{rate:,.0f} events/s, {frauds:.1%} of them frauds, {options.browsers} browsers, {options.minutes:g} minutes"
    )
    print(f"  the page: {statistics.fmean(one.share for one in samples):.1%} of a core")
    print(f"  memory: {samples[0].megabytes:.0f}, half-way {half[0].megabytes:.0f}, {samples[-1].megabytes:.0f} MB")
    print(
        f"  frames/s: {min(one.frames[0] for one in samples):.1f} to {max(one.frames[1] for one in samples):.1f} each"
    )
    if browser:
        print(f"  chromium: {statistics.fmean(one.browser or 0.0 for one in samples):.1%} of a core, all processes")


if __name__ == "__main__":
    main()
