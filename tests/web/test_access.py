import time

import httpx
import pytest
from starlette.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from detection.settings import is_loopback
from web.access import COOKIE, SESSION_SECONDS, Access

TOKEN = "a-token-of-24-characters"
PATHS = ["/", "/events", "/api/state", "/api/verdicts", "/api/verdicts/1"]


@pytest.fixture
def access() -> Access:
    return Access(TOKEN, loopback=False)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "LOCALHOST"])
def test_these_are_of_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "localhost.example", "127.0.0.1.example", ""])
def test_these_are_not(host: str) -> None:
    assert not is_loopback(host)


def test_an_address_for_others_without_a_token_cannot_even_be_put_together() -> None:
    with pytest.raises(ValueError, match="expected a token"):
        Access(None, loopback=False)


def test_neither_token_nor_key_is_shown(access: Access) -> None:
    assert TOKEN not in repr(access)
    assert repr(access.key) not in repr(access)


def test_a_session_ends_after_its_time(access: Access) -> None:
    cookie = access.session(1_000)

    assert access.is_session(cookie, 1_000 + SESSION_SECONDS - 1)
    assert not access.is_session(cookie, 1_000 + SESSION_SECONDS)


@pytest.mark.parametrize("cookie", ["", ".", "x", "99999999999.ab.cd", "é.é.é", "9" * 5_000])
def test_what_we_did_not_sign_is_no_session(cookie: str, access: Access) -> None:
    assert not access.is_session(cookie, 0)


def test_a_session_that_was_made_longer_is_none(access: Access) -> None:
    until, rest = access.session(0).split(".", 1)

    assert not access.is_session(f"{int(until) + 1}.{rest}", 0)


def test_a_token_against_forgery_signs_no_session(access: Access) -> None:
    token = access.csrf(Headers({"cookie": f"{COOKIE}=x"}))

    assert not access.is_session(f"csrf.x.{token}", 0)


def test_a_session_of_another_process_is_none(access: Access) -> None:
    assert not access.is_session(Access(TOKEN, loopback=False).session(0), 0)


@pytest.mark.parametrize("cookie", ["fraud_session", "a=b; ;;=", "fraud_session=\x00", 'fraud_session="', "[]=1"])
def test_a_hostile_cookie_header_admits_nobody(cookie: str, access: Access) -> None:
    assert not access.admits(Headers({"cookie": cookie}), time.time())


@pytest.mark.parametrize("host", ["localhost:5000", "127.0.0.1", "[::1]:5000"])
def test_a_loopback_page_answers_to_this_machines_names(host: str) -> None:
    assert Access(None, loopback=True).refuses({"type": "http", "method": "GET"}, Headers({"host": host})) is None


@pytest.mark.parametrize("host", ["evil.example", "evil.example:5000", "", "[", "127.0.0.1@evil.example"])
def test_a_loopback_page_answers_to_no_other_name(host: str) -> None:
    assert Access(None, loopback=True).refuses({"type": "http", "method": "GET"}, Headers({"host": host}))


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://fraud.example:81"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("scope", [{"type": "http", "method": "POST"}, {"type": "websocket"}])
def test_nobody_elses_page_may_post_or_open_a_socket(
    scope: dict[str, str], headers: dict[str, str], access: Access
) -> None:
    assert access.refuses(scope, Headers({"host": "fraud.example", **headers}))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://fraud.example"},
        {"origin": "https://fraud.example:443"},
        {"origin": "https://FRAUD.example"},
    ],
)
def test_our_own_page_and_programs_may(headers: dict[str, str], access: Access) -> None:
    own = "fraud.example:443" if ":443" in headers.get("origin", "") else "fraud.example"

    assert access.refuses({"type": "http", "method": "POST"}, Headers({"host": own, **headers})) is None


@pytest.mark.parametrize("path", ["/api/verdicts", "/api/review/t/0/1", "/events"])
def test_a_page_of_another_site_has_no_answer_made(path: str, access: Access) -> None:
    scope = {"type": "http", "method": "GET", "path": path}

    assert access.refuses(scope, Headers({"host": "fraud.example", "sec-fetch-site": "cross-site"}))
    for site in ("same-origin", "same-site", "none"):
        assert access.refuses(scope, Headers({"host": "fraud.example", "sec-fetch-site": site})) is None


def test_nor_a_socket_opened_whatever_its_origin(access: Access) -> None:
    headers = {"host": "fraud.example", "origin": "http://fraud.example", "sec-fetch-site": "cross-site"}

    assert access.refuses({"type": "websocket", "path": "/ws"}, Headers(headers))


def test_a_link_on_another_site_may_lead_to_a_page(access: Access) -> None:
    headers = Headers({"host": "fraud.example", "sec-fetch-site": "cross-site"})

    assert access.refuses({"type": "http", "method": "GET", "path": "/"}, headers) is None


@pytest.mark.parametrize("path", PATHS)
def test_without_a_login_nothing_is_told(path: str, page) -> None:
    answer = page(TOKEN, loopback=False, ready=False).client.get(path)

    assert answer.status_code == 401
    assert answer.json() == {"error": "log in first"}


def test_a_browser_is_sent_to_the_login(page) -> None:
    answer = page(TOKEN, loopback=False, ready=False).client.get("/", headers={"accept": "text/html"})

    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_the_token_opens_the_page_until_the_log_out(page) -> None:
    client = page(TOKEN, loopback=False, ready=False).client

    answer = client.post("/login", data={"token": TOKEN})
    cookie = answer.headers["set-cookie"].lower()
    inside = client.get("/").status_code
    client.post("/logout")

    assert (answer.status_code, inside, client.get("/").status_code) == (303, 200, 401)
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert COOKIE in cookie
    assert TOKEN not in cookie


@pytest.mark.parametrize("token", ["", TOKEN[:-1], TOKEN + "x", "\udcff", "é"])
def test_a_wrong_token_opens_nothing(token: str, page) -> None:
    client = page(TOKEN, loopback=False, ready=False).client

    answer = client.post("/login", content=b"token=" + token.encode("utf-8", "surrogateescape"))

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert "not the token" in answer.text


def test_a_login_is_not_read_for_ever(page) -> None:
    client = page(TOKEN, loopback=False, ready=False).client

    assert client.post("/login", content=b"token=" + b"x" * 10_000).status_code == 413


def test_a_program_shows_the_token_itself(page) -> None:
    client = page(TOKEN, loopback=False, ready=False).client

    assert client.get("/api/state", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/api/state", headers={"authorization": f"Bearer {TOKEN}x"}).status_code == 401


def test_a_web_site_that_points_its_name_to_this_machine_gets_nothing(page) -> None:
    client = page(ready=False).client

    assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/static/live.js", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/").status_code == 200


def test_a_login_from_another_web_site_is_refused(page) -> None:
    client = page(TOKEN, loopback=False, ready=False).client

    answer = client.post("/login", data={"token": TOKEN}, headers={"origin": "http://evil.example"})

    assert answer.status_code == 403


def test_a_socket_of_another_web_site_is_refused(page) -> None:
    url = page(ready=False).url.replace("http", "ws") + "/ws"

    with pytest.raises(InvalidStatus, match="403"):
        connect(url, origin="http://evil.example")


def test_a_socket_without_a_login_is_refused(page) -> None:
    url = page(TOKEN, loopback=False, ready=False).url.replace("http", "ws") + "/ws"

    with pytest.raises(InvalidStatus, match="403"):
        connect(url)
    with connect(url, additional_headers={"authorization": f"Bearer {TOKEN}"}) as socket:
        assert socket.recv(timeout=10)


def test_every_answer_has_the_policy(page) -> None:
    client: httpx.Client = page(ready=False).client
    answers = [
        client.get("/"),
        client.get("/static/live.js"),
        client.get("/nosuch"),
        client.post("/"),
        client.get("/api/verdicts/1"),
        client.get("/", headers={"host": "evil.example"}),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 404, 403, 404, 403]
    for answer in answers:
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
