from pathlib import Path

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
