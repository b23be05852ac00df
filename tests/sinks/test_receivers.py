import logging
import socket

import pytest

from detection.alerting.outbox import Message
from detection.settings import Settings, SettingsError
from sinks.receivers import AppriseReceiver, mask, receivers, secrets_of
from tests.detection.alerting.test_text import ALERT, HOSTILE, message
from tests.sinks.receivers import hook, mail_server

CANARY = "cAnArY9f3b"


def receiver(url: str) -> AppriseReceiver:
    return receivers(["ALERTS_OPS"], {"ALERTS_OPS": url})["ALERTS_OPS"][0]


def test_a_mail_has_text_and_html_and_one_subject() -> None:
    hostile = message(reasons=[HOSTILE], entity=[("user", HOSTILE)])
    with mail_server() as (mailbox, port):
        url = f"mailto://127.0.0.1:{port}?from=fraud@example.com&to=ops@example.com"
        assert receiver(url).send(message()) is None
        assert receiver(url).send(hostile) is None

    plain, bad = mailbox.mails
    assert mailbox.to == [["ops@example.com"]] * 2
    assert plain["Subject"] == "FRAUD high_amount: user ann"
    text, markup = plain.get_body(("plain",)), plain.get_body(("html",))
    assert text is not None
    assert markup is not None
    assert "user ann" in text.get_content()
    assert "<td>400.01 EUR</td>" in markup.get_content()
    assert bad["Bcc"] is None
    assert len(bad.get_all("Subject")) == 1
    shown = bad.get_body(("html",))
    assert shown is not None
    assert "<script" not in shown.get_content()


def test_a_webhook_gets_the_text() -> None:
    with hook() as server:
        assert receiver(server.url()).send(message(34, 60_000)) is None

    assert server.titles == ["FRAUD high_amount: 34 more in the last minute"]
    assert "Who: user ann" in server.got[0]["message"]


@pytest.mark.parametrize(
    "url",
    [
        f"json://{CANARY}:{CANARY}@127.0.0.1:PORT/{CANARY}?+X-Token={CANARY}",
        f"mailto://{CANARY}:{CANARY}@127.0.0.1:PORT/?from=a@{CANARY}.com&to=b@{CANARY}.com&name={CANARY}",
        f"xml://127.0.0.1:PORT/{CANARY}%2F{CANARY}",
        f"json://{CANARY}.invalid/{CANARY}",
    ],
)
@pytest.mark.parametrize("answers", [True, False])
def test_no_secret_is_told_when_it_fails(
    url: str, *, answers: bool, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with hook(lambda _: 500) as server, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = server.port if answers else silent.getsockname()[1]
        error = receiver(url.replace("PORT", str(port))).send(message())

    out = capfd.readouterr()
    assert error
    for told in (error, caplog.text, out.out, out.err):
        assert CANARY.lower() not in told.lower()


def test_the_cause_is_told() -> None:
    with hook(lambda _: 503) as server:
        error = receiver(server.url()).send(message())

    assert error is not None
    assert "503" in error


def test_what_a_plugin_raises_is_told_by_its_kind_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = receiver(f"json://127.0.0.1/{CANARY}")

    def fail(**_: object) -> bool:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(found._server, "notify", fail)

    assert found.send(Message([ALERT])) == "RuntimeError"


def test_several_urls_and_the_places_of_wrong_ones() -> None:
    found = receivers(["ALERTS_OPS"], {"ALERTS_OPS": "json://a/x,y,  mailto://u:p@b.example\n xml://c"})
    assert [one.name for one in found["ALERTS_OPS"]] == ["ALERTS_OPS#0", "ALERTS_OPS#1", "ALERTS_OPS#2"]

    with pytest.raises(SettingsError) as raised:
        receivers(["ALERTS_OPS", "ALERTS_MISSING"], {"ALERTS_OPS": f"json://a {CANARY}://b"})
    assert raised.value.lines == [
        "ALERTS_OPS: expected Apprise URLs, got something else at place 2",
        "ALERTS_MISSING: expected Apprise URLs, since a pack names it, got nothing",
    ]


def test_the_settings_show_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_OPS", f"json://{CANARY}")
    settings = Settings(_env_file=None)

    assert settings.alerts == {"ALERTS_OPS": f"json://{CANARY}"}
    assert CANARY not in repr(settings)


def test_masking_finds_what_is_quoted() -> None:
    secrets = secrets_of("json://h.example/a%2Fbcd?x=p%40ss")

    assert mask("GET /a%2Fbcd a/bcd p@ss P%40SS", secrets) == "GET /*** *** *** ***"
