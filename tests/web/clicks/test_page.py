import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from broker.embedded import EmbeddedBroker
from detection.loading import parse
from tests.web.clicks.conftest import Serve
from web.clicks.app import HEADERS, ClickPage
from web.clicks.records import ClickForm
from web.clicks.visitors import COOKIE, LONGEST_URL, LONGEST_USER_AGENT

ID = re.compile(r"[0-9a-f]{32}")
END = b"\r\nConnection: close\r\n\r\n"


def test_a_click_is_answered_with_the_count_as_json_and_the_page_shows_it(serve: Serve) -> None:
    with serve() as page, page.browser() as browser:
        assert '<span id="count">0</span>' in browser.get("/").text
        answers = [browser.post("/click"), browser.get("/click")]

        assert [answer.json() for answer in answers] == [{"click_count": 1}, {"click_count": 2}]
        assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
        assert '<span id="count">2</span>' in browser.get("/").text
        assert len(page.sent(2)) == 2


def test_a_click_on_kafka_says_who_what_where_and_when_and_is_keyed_by_its_session(serve: Serve, consume_all) -> None:
    before = datetime.now(UTC)
    with serve() as page, page.browser(headers={"user-agent": "Seven/7"}) as browser:
        browser.get("/click?ad=7")

        (message,) = consume_all(page.broker, [page.clicks], 1)

    click = json.loads(message.value())
    at = datetime.fromisoformat(click.pop("timestamp"))
    session = browser.cookies[COOKIE]
    assert click == {"session_id": session, "url": "/click?ad=7", "user_agent": "Seven/7", "ip": "127.0.0.1"}
    assert message.key() == session.encode()
    assert before - timedelta(milliseconds=1) <= at <= datetime.now(UTC)


def test_two_hundred_clicks_from_eight_threads_are_two_hundred_records_and_numbers(serve: Serve) -> None:
    with serve() as page:
        numbers: list[int] = []

        def browse(_: int) -> None:
            with page.browser() as browser:
                for _ in range(25):
                    numbers.append(browser.post("/click").json()["click_count"])  # noqa: PERF401  (told while they come)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(browse, range(8)))

        assert sorted(numbers) == list(range(1, 201))
        sent = page.sent(200)
        with page.browser() as browser:
            assert '<span id="count">200</span>' in browser.get("/").text
    assert len({click["session_id"] for click in sent}) == 8


def test_the_count_goes_on_after_a_restart(serve: Serve, tmp_path) -> None:
    with serve() as page, page.browser() as browser:
        browser.post("/click")
    assert json.loads((tmp_path / "click_count.json").read_bytes()) == {"click_count": 1}

    with serve() as page, page.browser() as browser:
        assert browser.post("/click").json() == {"click_count": 2}


def test_two_cookies_are_two_sessions_and_one_cookie_is_one(serve: Serve) -> None:
    with serve() as page, page.browser() as one, page.browser() as other:
        one.get("/")
        for browser in (one, one, other):
            browser.post("/click")

        sessions = [click["session_id"] for click in page.sent(3)]

    assert sorted(map(sessions.count, set(sessions))) == [1, 2]


def test_the_cookie_is_for_this_site_and_no_script(serve: Serve) -> None:
    with serve() as page, page.browser() as browser:
        cookie = browser.get("/").headers["set-cookie"]

        assert re.fullmatch(rf"{COOKIE}=[0-9a-f]{{32}}; HttpOnly; Path=/; SameSite=lax", cookie)
        assert "set-cookie" not in browser.get("/").headers


@pytest.mark.parametrize(
    "cookie",
    [
        b"",
        b"x",
        b"A" * 32,
        b"0" * 31,
        b"0" * 33,
        b"0" * 32 + b"\xb2",
        b'"0\\"1"',
        b"../../etc",
        b"'; drop",
        b"0" * 8_000,
        b"\xff\xfe",
    ],
)
def test_an_id_that_the_page_would_not_give_is_replaced(cookie: bytes, serve: Serve) -> None:
    with serve() as page:
        answer = page.raw(b"POST /click HTTP/1.1\r\nHost: x\r\nCookie: " + COOKIE.encode() + b"=" + cookie + END)

        assert answer.startswith(b"HTTP/1.1 200 ")
        (click,) = page.sent(1)
    assert ID.fullmatch(click["session_id"])
    assert f"{COOKIE}={click['session_id']};".encode() in answer


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"", None),
        (b"User-Agent:\r\n", None),
        (b'User-Agent: "}{\\u0000<script>\r\n', '"}{\\u0000<script>'),
        (b"User-Agent: \xff\xfe\r\n", "\xff\xfe"),
        (b"User-Agent: " + b"a" * 5_000 + b"\r\n", "a" * LONGEST_USER_AGENT),
        (b"User-Agent: one\r\nUser-Agent: two\r\n", "one"),
    ],
)
def test_any_user_agent_is_told_as_it_is_and_not_too_long(header: bytes, expected: str | None, serve: Serve) -> None:
    with serve() as page:
        answer = page.raw(b"POST /click HTTP/1.1\r\nHost: x\r\n" + header + END[2:])

        assert answer.startswith(b"HTTP/1.1 200 ")
        (click,) = page.sent(1)
    assert click.get("user_agent") == expected


@pytest.mark.parametrize(
    "request_line",
    [
        b"POST /click HTTP/1.1\r\nHost: x\r\nUser-Agent: a\x00b\r\n\r\n",
        b"POST /click HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"POST /click HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 2_000_000 + b"\r\n\r\n",
        b"POST /click HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_is_no_http_counts_nothing_and_the_page_goes_on(request_line: bytes, serve: Serve) -> None:
    with serve() as page, page.browser() as browser:
        assert page.raw(request_line)[:13] in {b"HTTP/1.1 400 ", b""}  # it may hang up before all was sent

        assert browser.post("/click").json() == {"click_count": 1}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("HEAD", "/click", {}, 405),
        ("PUT", "/click", {}, 405),
        ("POST", "/click", {"sec-fetch-site": "cross-site"}, 403),
        ("GET", "/click", {"sec-purpose": "prefetch;prerender"}, 503),
        ("POST", "/click?" + "a" * (LONGEST_URL - len("/click?") + 1), {}, 414),
        ("POST", "/", {}, 405),
        ("GET", "/clicks", {}, 404),
        ("GET", "/static/page.html", {}, 404),
        ("GET", "/static/../app.py", {}, 404),
    ],
)
def test_what_is_no_click_counts_nothing(method: str, path: str, headers: dict[str, str], status: int, serve) -> None:
    with serve() as page, page.browser() as browser:
        assert browser.request(method, path, headers=headers).status_code == status

        assert browser.post("/click?" + "a" * (LONGEST_URL - len("/click?"))).json() == {"click_count": 1}
        assert len(page.sent(1)) == 1


def test_the_host_is_not_believed(serve: Serve) -> None:
    with serve() as page, page.browser(headers={"host": "evil.example"}) as browser:
        browser.post("/click")

        assert page.sent(1)[0]["url"] == "/click"


@pytest.mark.parametrize(
    ("trusted", "said", "expected"),
    [
        ((), "192.0.2.1", "127.0.0.1"),
        (("10.0.0.0/8",), "192.0.2.1", "127.0.0.1"),
        (("127.0.0.1",), "192.0.2.1", "192.0.2.1"),
        (("127.0.0.1",), "192.0.2.9, 192.0.2.1", "192.0.2.1"),
        (("127.0.0.1", "10.0.0.0/8"), "192.0.2.1, 10.1.2.3", "192.0.2.1"),
        (("127.0.0.1",), "192.0.2.1, <script>", "127.0.0.1"),
        (("127.0.0.1",), "", "127.0.0.1"),
        (("127.0.0.1",), "::ffff:192.0.2.1", "192.0.2.1"),
        (("127.0.0.1",), "2001:db8::1", "2001:db8::1"),
    ],
)
def test_a_proxy_is_believed_if_it_is_trusted_and_a_visitor_never(
    trusted: tuple[str, ...], said: str, expected: str, serve: Serve
) -> None:
    with serve(trusted=trusted) as page, page.browser(headers={"x-forwarded-for": said}) as browser:
        browser.post("/click")

        assert page.sent(1)[0]["ip"] == expected


def test_a_click_that_the_broker_does_not_take_is_told_with_503_and_not_counted(serve: Serve, pack, tmp_path) -> None:
    with ExitStack() as running:
        broker = running.enter_context(EmbeddedBroker())
        broker.create_topic(pack.topics_in[0])
        with serve(broker=broker) as page, page.browser() as browser:
            assert browser.post("/click").json() == {"click_count": 1}
            running.close()

            answer = browser.post("/click")

            assert answer.status_code == 503
            assert answer.json() == {"error": "not counted: the broker did not take the click"}
            assert '<span id="count">1</span>' in browser.get("/").text
    assert json.loads((tmp_path / "click_count.json").read_bytes()) == {"click_count": 1}


def test_the_end_waits_for_no_broker_and_answers_who_waits(serve: Serve, pack) -> None:
    with EmbeddedBroker() as broker:
        pass
    with serve(broker=broker) as page:
        clicking = HTTPConnection(urlsplit(page.url).netloc, timeout=20)
        clicking.request("POST", "/click")  # sent when this returns, and taken when a request after it is answered
        with page.browser() as browser:
            browser.get("/")
        began = datetime.now(UTC)

    assert datetime.now(UTC) - began < timedelta(seconds=2)
    with closing(clicking):
        assert clicking.getresponse().status == 503


def test_the_counter_form_tells_the_count_too(serve: Serve) -> None:
    with serve(counter=True) as page, page.browser() as browser:
        for _ in range(4):
            browser.post("/click")

        assert sorted(count["click_count"] for count in page.sent(4, page.counts)) == [1, 2, 3, 4]
        assert len(page.sent(4)) == 4


def test_a_count_that_cannot_be_written_is_no_success_and_the_next_one_has_it(serve: Serve, tmp_path) -> None:
    with serve() as page, page.browser() as browser:
        obstacle = tmp_path / ".click_count.json.new"
        obstacle.mkdir()

        assert browser.post("/click").status_code == 503
        obstacle.rmdir()
        assert browser.post("/click").json() == {"click_count": 2}
        assert len(page.sent(2)) == 2


@pytest.mark.parametrize("path", ["/", "/click", "/static/page.js", "/static/page.css", "/static/icon.svg", "/nothing"])
def test_every_answer_lets_only_what_is_ours_run(path: str, serve: Serve) -> None:
    with serve() as page, page.browser() as browser:
        answer = browser.get(path)

    assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers
    for text in re.findall(r"<(?:script|style)[^>]*>([^<]*)<|\s(?:style|on\w+)=", answer.text):
        assert text == ""


def test_an_answer_about_a_failure_has_the_headers_too(clicks_pack: Path) -> None:
    class Broken:
        @property
        def number(self) -> int:
            raise RuntimeError

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    form = ClickForm(parse({"clicks.toml": clicks_pack.read_text()}))
    app = ClickPage(Broken, Broken(), form).app()
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    with suppress(RuntimeError):  # the server logs it
        asyncio.run(app(scope, receive, send))

    assert sent[0]["status"] == 500
    told = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    assert {name.lower(): value for name, value in HEADERS.items()}.items() <= told.items()


def test_what_the_page_refers_to_is_there(serve: Serve) -> None:
    with serve() as page, page.browser() as browser:
        referred = re.findall(r'(?:href|src|action)="([^"]+)"', browser.get("/").text)

        assert sorted(referred) == ["/click", "/click", "/static/icon.svg", "/static/page.css", "/static/page.js"]
        kinds = {browser.get(path).headers["content-type"].partition(";")[0] for path in referred}
    assert kinds == {"application/json", "image/svg+xml", "text/css", "text/javascript"}


@pytest.mark.parametrize(
    ("scheme", "pairs"),
    [
        ("light", [("text", "ground"), ("on-button", "button"), ("link", "ground"), ("wrong", "ground")]),
        ("dark", [("text", "ground"), ("on-button", "button"), ("link", "ground"), ("wrong", "ground")]),
    ],
)
def test_the_contrasts_are_those_of_wcag_aa(scheme: str, pairs: list[tuple[str, str]], serve: Serve) -> None:
    with serve() as page, page.browser() as browser:
        light, dark = browser.get("/static/page.css").text.split("@media (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light if scheme == "light" else dark))

    for one, other in pairs:
        lighter, darker = sorted((luminance(colours[one]), luminance(colours[other])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (one, other)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
