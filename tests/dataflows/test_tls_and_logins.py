"""TLS and SASL against a real Kafka with a certificate authority of its own; and whom a password is never told."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from broker.apache import ApacheKafka
from broker.ports import free_ports
from tests.certificates import Authority
from tests.reading import read_all

pytestmark = pytest.mark.kafka

PATIENCE = 12.0
"""Beyond what it takes to start Python, which is 3 s on a machine that has nothing else to do."""
CANARY = "canary-Zq7!x9"
CLICKS = Path(__file__).parents[2] / "packs" / "clicks.toml"
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
DOORS = {"SECURE": "SASL_SSL", "EXPIRED": "SASL_SSL", "ELSEWHERE": "SASL_SSL", "PASSWORDS": "SASL_SSL", "OPEN": "SSL"}
COMMANDS = {
    "fraud run": ["cli.main", "run", "--snapshot-interval", "1"],
    "bytewax.run": ["bytewax.run", "dataflows.fraud"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def locked(authority: Authority) -> Iterator[ApacheKafka]:
    """One broker with a plain door for the test itself, and one door for everything that can be wrong with one."""
    good = authority.server("good")
    keys = dict.fromkeys(DOORS, good)
    keys["EXPIRED"] = authority.server("expired", days=0)
    keys["ELSEWHERE"] = authority.server("elsewhere", host="DNS:elsewhere.example")
    properties = {"sasl.enabled.mechanisms": "SCRAM-SHA-512"}
    for name, key in keys.items():
        door = f"listener.name.{name.lower()}"
        properties |= {f"{door}.ssl.keystore.type": "PEM", f"{door}.ssl.keystore.location": str(key)}
        properties[f"{door}.scram-sha-512.sasl.jaas.config"] = SCRAM
    properties["listener.name.passwords.sasl.enabled.mechanisms"] = "PLAIN"
    properties["listener.name.passwords.plain.sasl.jaas.config"] = f'{PLAIN} user_fraud="{CANARY}";'
    with ApacheKafka(properties=properties, listeners=DOORS) as broker:
        admin = AdminClient({"bootstrap.servers": broker.address})
        login = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        user = UserScramCredentialUpsertion("fraud", login, CANARY.encode())
        admin.alter_user_scram_credentials([user])["fraud"].result(10)
        yield broker


@pytest.fixture(scope="module")
def settings(locked: ApacheKafka, authority: Authority) -> dict[str, str]:
    """What an operator sets for the door that is right in all."""
    theirs = ("KAFKA_", "FRAUD_", "BYTEWAX_", "APPLICATION_ID", "DEAD_LETTER")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(theirs)},
        "KAFKA_BROKER_URL": locked.doors["SECURE"],
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": "fraud",
        "KAFKA_SASL_PASSWORD": CANARY,
        "KAFKA_SSL_CA_LOCATION": str(authority.certificate),
        "FRAUD_PACKS": str(CLICKS),
    }


@contextmanager
def running(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    with (
        (folder / "said").open("w") as said,
        subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, env=environment, stdout=said, stderr=said, text=True
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def page_at(address: str) -> str:
    try:
        with urlopen(address, timeout=10) as response:
            return response.read().decode()
    except HTTPError as error:  # /health says so while it is not ready
        return error.read().decode()


def command_lines(process: subprocess.Popen[str]) -> list[str]:
    """What `ps` shows of a process and its children: title and arguments of each."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False).stdout
    return [
        (Path("/proc") / pid / name).read_text()
        for pid in (str(process.pid), *children.split())
        for name in ("cmdline", "comm")
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_judged_over_tls_with_a_login_and_the_password_is_nowhere_to_be_seen(  # noqa: PLR0917  (fixtures)
    command: str, locked: ApacheKafka, settings: dict[str, str], new_topic, produce, tmp_path: Path
) -> None:
    topics = {name: new_topic(locked, 1, name) for name in ("in", "block", "review", "accept", "dead")}
    text = CLICKS.read_text().replace('topic = "clicks"', f'topic = "{topics["in"]}"')
    for decision, old in (("block", "fraud"), ("review", "review"), ("accept", "legit")):
        text = text.replace(f'"clicks.{old}"', f'"{topics[decision]}"')
    (tmp_path / "pack.toml").write_text(text)
    port, health = free_ports(2)
    environment = settings | {
        "FRAUD_PACKS": "pack.toml",
        "DEAD_LETTER_TOPIC": topics["dead"],
        "APPLICATION_ID": topics["in"],
        "BYTEWAX_DATAFLOW_API_ENABLED": "1",
        "BYTEWAX_DATAFLOW_API_PORT": str(port),
    }
    now = int(time.time() * 1000)
    clicks = [b'{"session_id":"s","url":"/ad","timestamp":%d}' % (now + number) for number in range(5)]
    seen: list[str] = []
    supervised = command == "fraud run"
    told = [*COMMANDS[command], "--health-port", str(health)] if supervised else COMMANDS[command]
    with running(told, environment, tmp_path) as process:
        produce(locked, topics["in"], [*clicks, b"rubbish"])
        outputs = [topics[name] for name in ("block", "review", "accept", "dead")]
        answers = read_all(locked, outputs, 6, seconds=40)
        seen += command_lines(process)
        pages = [f"{port}/dataflow", f"{port}/metrics", *([f"{health}/health"] if supervised else [])]
        for page in pages:
            seen.append(page_at(f"http://127.0.0.1:{page}"))
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)

    said = (tmp_path / "said").read_text()
    assert code == 0, said
    assert len(answers) == 6
    assert len(seen) >= 4
    seen += [said, *(f"{message.value()}{message.headers()}" for message in answers)]
    seen += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert [text for text in seen if CANARY in text] == []


UNTRUSTED = r"no TLS with ADDRESS: its certificate has expired, is for another host, or is of an authority that .*"
REFUSED = r"ADDRESS refuses the login: .*: check KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
CLOSED = r"ADDRESS closes every connection: check KAFKA_SECURITY_PROTOCOL"
OTHERWISE = r"no TLS with ADDRESS: .*: check KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CA_LOCATION"
WRONG = {
    "an authority that nobody trusts": ({"KAFKA_SSL_CA_LOCATION": "STRANGER"}, UNTRUSTED),
    "a certificate for another host": ({"KAFKA_BROKER_URL": "ELSEWHERE"}, UNTRUSTED),
    "a certificate that has expired": ({"KAFKA_BROKER_URL": "EXPIRED"}, UNTRUSTED),
    "another password": ({"KAFKA_SASL_PASSWORD": f"not-{CANARY}"}, REFUSED),
    "a user nobody knows": ({"KAFKA_SASL_USERNAME": "nobody"}, REFUSED),
    "another mechanism": ({"KAFKA_SASL_MECHANISM": "SCRAM-SHA-256"}, REFUSED),
    "a door where SCRAM is off": ({"KAFKA_BROKER_URL": "PASSWORDS"}, REFUSED),
    "a door without logins": ({"KAFKA_BROKER_URL": "OPEN"}, REFUSED),
    "TLS at the plain door": ({"KAFKA_BROKER_URL": "CLIENT"}, OTHERWISE),
    "no TLS at a door that wants it": ({"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, CLOSED),
    "neither TLS nor a login": ({"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, CLOSED),
    "TLS without the login": ({"KAFKA_SECURITY_PROTOCOL": "SSL"}, CLOSED),
    "a CA file that is none": ({"KAFKA_SSL_CA_LOCATION": "/dev/null"}, r"ADDRESS: .*ssl\.ca\.location failed: .*"),
}

CASES = [("fraud run", wrong) for wrong in WRONG] + [
    ("bytewax.run", wrong) for wrong in ("another password", "a certificate that has expired", "TLS at the plain door")
]


Outcome = tuple[subprocess.CompletedProcess[str], float, Path]


@pytest.fixture(scope="module")
def start(
    locked: ApacheKafka, settings: dict[str, str], folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[tuple[str, str]], Outcome]:
    """Starts what is wrong; gives how it ended, how many seconds it took, and its folder."""
    places = {**locked.doors, "CLIENT": locked.address, "STRANGER": str(Authority(folder, "stranger").certificate)}

    def start(case: tuple[str, str]) -> Outcome:
        command, wrong = case
        environment = settings | {name: places.get(value, value) for name, value in WRONG[wrong][0].items()}
        scratch = tmp_path_factory.mktemp("start")
        since = time.monotonic()
        done = refused(COMMANDS[command], environment, scratch)
        return done, time.monotonic() - since, scratch

    return start


def refused(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def seconds_to_start(command: list[str], environment: dict[str, str], folder: Path) -> float:
    """Until a pack that is not there is told: as much work before any broker is asked."""
    since = time.monotonic()
    assert "FRAUD_PACKS" in refused(command, environment | {"FRAUD_PACKS": "/nowhere"}, folder).stderr
    return time.monotonic() - since


@pytest.fixture(scope="module")
def outcomes(start: Callable[[tuple[str, str]], Outcome]) -> dict[tuple[str, str], Outcome]:
    """How each start ended. Four at once: they wait more than they work."""
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(CASES, pool.map(start, CASES), strict=True))


@pytest.mark.parametrize("case", CASES, ids=": ".join)
def test_what_is_wrong_is_one_line_within_seconds(
    case: tuple[str, str],
    outcomes: dict[tuple[str, str], Outcome],
    start: Callable[[tuple[str, str]], Outcome],
    settings: dict[str, str],
    tmp_path: Path,
) -> None:
    line = WRONG[case[1]][1].replace("ADDRESS", r"127\.0\.0\.1:\d+")
    done, seconds, scratch = outcomes[case]
    for _ in range(3):
        if seconds < PATIENCE:
            break
        done, seconds, scratch = start(case)  # alone: four at once slow each other down
        seconds -= seconds_to_start(COMMANDS[case[0]], settings, tmp_path)

    assert done.returncode != 0
    assert re.fullmatch(f"fraud: {line}\n", done.stderr), done.stderr
    assert seconds < PATIENCE
    assert CANARY not in done.stdout + done.stderr
    assert not list(scratch.iterdir())
