from pathlib import Path
from threading import Thread

from proofs.cluster import Cluster
from proofs.deployment import Deployment

LINES = """\
{"event": "topic x: gone", "level": "error", "timestamp": "2026-01-01T00:00:00Z"}
{"event": "topic x: gone", "level": "error", "timestamp": "2026-01-01T00:00:01Z"}
{"event": "connect failed", "level": "error", "facility": "FAIL", "client": "x"}
{"event": "held up", "level": "warning"}
thread '<unnamed>' panicked at src/outputs.rs:332:45:
  File "sinks/kafka.py", line 1, in error
fraud: no Kafka broker answers
{"event":
"""


def test_the_errors_are_those_of_the_dataflow_each_once(tmp_path: Path) -> None:
    cluster = Cluster(Deployment(tmp_path, "127.0.0.1:1", "errors"))
    cluster.log.write_text(LINES)

    assert cluster.errors() == ["topic x: gone", "no Kafka broker answers"]


def test_the_processes_outlive_the_thread_that_had_them_started(tmp_path: Path) -> None:
    cluster = Cluster(Deployment(tmp_path, "127.0.0.1:1", "outlives"))
    keeper = Thread(target=cluster.start)
    keeper.start()
    keeper.join()
    try:
        assert not cluster.wait(0.3)  # it looks for a broker for longer
    finally:
        cluster.kill()
