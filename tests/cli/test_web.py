import re
import signal
import socket

import httpx
import pytest

TOKEN = "a-token-of-24-characters"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_is_served_until_a_signal_ends_it_with_0(fraud, transfers, number: int) -> None:
    with fraud.running("web", "--port", 0) as process:
        told = process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", told)[0]
        with httpx.stream("GET", f"{url}/events", timeout=20) as events:
            next(events.iter_lines())
            process.send_signal(number)
            _, error = process.communicate(timeout=10)  # an open feed holds nothing up

    assert process.returncode == 0
    assert error == ""


def test_it_is_served_and_ended_without_a_broker_too(fraud) -> None:
    fraud.environment |= {"KAFKA_BROKER_URL": "127.0.0.1:1"}
    with fraud.running("web", "--port", 0) as process:
        url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
        state = httpx.get(f"{url}/api/state", timeout=20).json()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)

    assert state["problem"]
    assert process.returncode == 0


def test_a_port_that_is_taken_is_told_in_a_line_that_names_the_option(fraud) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (line,) = fraud("web", "--port", port, code=2).splitlines()

    assert line == f"fraud: 127.0.0.1:{port}: Address already in use: choose another with --host or --port"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_address_for_others_is_refused_without_a_token(fraud, host: str) -> None:
    (line,) = fraud("web", "--host", host, code=2).splitlines()

    assert line.startswith(
        "fraud: --host: expected 127.0.0.1, or one of FRAUD_WEB_TOKEN, FRAUD_WEB_USERS and FRAUD_WEB_OIDC_ISSUER set, got "
    )


def test_a_short_token_is_refused_and_not_shown(fraud) -> None:
    fraud.environment |= {"FRAUD_WEB_TOKEN": "topsecret"}

    (line,) = fraud("web", code=1).splitlines()

    assert line == "fraud: FRAUD_WEB_TOKEN: expected at least 16 characters, got 9"


def test_with_a_token_it_is_served_to_others_who_log_in(fraud, transfers) -> None:
    fraud.environment |= {"FRAUD_WEB_TOKEN": TOKEN}
    with fraud.running("web", "--host", "0.0.0.0", "--port", 0) as process:
        told = process.stdout.readline()
        port = re.search(r":(\d+) ", told)[1]
        url = f"http://127.0.0.1:{port}"
        outside = httpx.get(f"{url}/api/state", timeout=20).status_code
        inside = httpx.get(f"{url}/api/state", timeout=20, headers={"authorization": f"Bearer {TOKEN}"}).status_code

    assert (outside, inside) == (401, 200)
    assert TOKEN not in told


def test_users_with_tokens_of_their_own_are_enough_to_serve_it_to_others(fraud, transfers) -> None:
    fraud.environment |= {"FRAUD_WEB_USERS": f"vera:viewer:{TOKEN}"}
    with fraud.running("web", "--host", "0.0.0.0", "--port", 0) as process:
        told = process.stdout.readline()
        port = re.search(r":(\d+) ", told)[1]
        url = f"http://127.0.0.1:{port}"
        outside = httpx.get(f"{url}/review", timeout=20).status_code
        inside = httpx.get(f"{url}/review", timeout=20, headers={"authorization": f"Bearer {TOKEN}"})

    assert (outside, inside.status_code) == (401, 200)
    assert "vera (viewer)" in inside.text
    assert TOKEN not in told


def test_without_its_extra_the_way_to_install_it_is_told(fraud, tmp_path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'uvicorn' else find(name, package)\n"
    )
    fraud.environment |= {"PYTHONPATH": str(tmp_path)}

    (line,) = fraud("web", code=2).splitlines()

    assert line == "fraud: the live page needs its web server: pip install 'fraud-streams[page]'"


def test_a_provider_to_log_in_with_is_enough_to_serve_it_to_others(fraud, transfers) -> None:
    fraud.environment |= {
        "FRAUD_WEB_OIDC_ISSUER": "http://127.0.0.1:9",
        "FRAUD_WEB_OIDC_CLIENT_ID": "pages",
        "FRAUD_WEB_OIDC_CLIENT_SECRET": "cAnArY9f3b",
        "FRAUD_WEB_OIDC_ROLES": "*:viewer",
    }
    with fraud.running("web", "--host", "0.0.0.0", "--port", 0) as process:
        port = re.search(r":(\d+) ", process.stdout.readline())[1]
        url = f"http://127.0.0.1:{port}"
        answers = [httpx.get(f"{url}{path}", timeout=20) for path in ("/review", "/login", "/login/oidc")]
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)

    assert [answer.status_code for answer in answers] == [401, 200, 502]
    assert "the provider of log-ins cannot be used" in log
    assert "cAnArY9f3b" not in log


def test_half_a_provider_is_refused_in_a_line(fraud) -> None:
    fraud.environment |= {"FRAUD_WEB_OIDC_ISSUER": "https://id.example.com", "FRAUD_WEB_OIDC_CLIENT_ID": "pages"}

    lines = fraud("web", code=1).splitlines()

    assert [line.split(": ")[1] for line in lines] == ["FRAUD_WEB_OIDC_CLIENT_SECRET", "FRAUD_WEB_OIDC_ROLES"]
