import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

Instructions = list[tuple[str, str]]


def _last(dockerfile: Instructions, name: str) -> str:
    return [arguments for instruction, arguments in dockerfile if instruction == name][-1]


def test_it_runs_as_somebody_who_is_not_root(dockerfile: Instructions) -> None:
    user = _last(dockerfile, "USER")
    made = re.search(r"useradd .*--uid (\d+) .*\b(\w+)$", _last(dockerfile, "RUN").split("&&")[0].strip())

    assert made
    assert made[2] == user
    assert int(made[1]) >= 1000
    names = [name for name, _ in dockerfile]
    assert names.index("ENTRYPOINT") > max(at for at, name in enumerate(names) if name == "USER")


def test_the_process_itself_gets_the_signals(dockerfile: Instructions) -> None:
    assert json.loads(_last(dockerfile, "ENTRYPOINT")) == ["fraud"]
    assert json.loads(_last(dockerfile, "CMD")) == ["--help"]
    assert _last(dockerfile, "STOPSIGNAL") == "SIGTERM"


def test_only_the_dataflow_can_open_its_store(dockerfile: Instructions) -> None:
    assert "install --directory --mode 0700 --owner fraud --group fraud /var/lib/fraud" in _last(dockerfile, "RUN")
    assert _last(dockerfile, "WORKDIR") == "/var/lib/fraud"  # where the run command makes its store


def test_nothing_is_installed_without_a_hash(dockerfile: Instructions) -> None:
    commands = [command for name, run in dockerfile if name == "RUN" for command in run.split("&&")]
    installs = [command for command in commands if re.search(r"\bpip (install|wheel)\b", command)]

    assert len(installs) == 4
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install
        assert "pip wheel" not in install or "--no-build-isolation" in install


def test_it_has_the_pages_and_alerts(dockerfile: Instructions, root: Path) -> None:
    runs = " ".join(arguments for name, arguments in dockerfile if name == "RUN")
    (installed,) = re.findall(r"/opt/fraud/bin/pip install --require-hashes [^&]*-r (\S+)", runs)
    pins = (root / installed).read_text()
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = [re.split(r"[>=<]", name)[0] for extra in ("page", "alerts") for name in extras[extra]]

    assert installed == "requirements/image.txt"
    assert [name for name in wanted if not re.search(rf"^{name}==", pins, re.MULTILINE)] == []


def test_the_python_is_one_the_project_takes(dockerfile: Instructions) -> None:
    images = {arguments.split()[0] for name, arguments in dockerfile if name == "FROM"}

    assert images == {"python:3.12-slim"}


def test_the_builder_gets_all_the_wheel_is_made_of_and_no_more(root: Path) -> None:
    lines = (root / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    packages = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]

    assert lines[1] == "*"
    assert allowed == {*packages, "LICENSE", "README.md", "pyproject.toml", "requirements"}
    assert all((root / name).exists() for name in allowed)


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/metrics" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _api() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), _Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def health_check(dockerfile: Instructions) -> list[str]:
    command: list[str] = json.loads(_last(dockerfile, "HEALTHCHECK").partition("CMD ")[2])
    assert command[0] == "python"
    return [sys.executable, *command[1:]]


def test_it_is_healthy_while_the_dataflow_answers_and_not_after(health_check: list[str]) -> None:
    with _api() as port:
        environment = {**os.environ, "BYTEWAX_DATAFLOW_API_PORT": str(port)}
        answered = subprocess.run(health_check, env=environment, capture_output=True, check=False)
    silent = subprocess.run(health_check, env=environment, capture_output=True, check=False)

    assert answered.returncode == 0, answered.stderr
    assert silent.returncode == 1


def test_the_dataflow_answers_where_the_health_check_asks(dockerfile: Instructions) -> None:
    environment = dict(pair.split("=", 1) for name, pairs in dockerfile if name == "ENV" for pair in pairs.split())

    assert environment["BYTEWAX_DATAFLOW_API_ENABLED"] == "1"
    assert environment["BYTEWAX_DATAFLOW_API_PORT"] == _last(dockerfile, "EXPOSE")
