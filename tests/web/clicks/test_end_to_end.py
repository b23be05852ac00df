import json
import time
from pathlib import Path

from detection.pack import Pack
from tests.cli.conftest import Fraud
from tests.reading import read_all
from tests.web.clicks.conftest import Serve
from web.clicks.visitors import COOKIE


def test_three_clicks_within_ten_seconds_are_a_fraud(  # noqa: PLR0917  (fixtures)
    serve: Serve, pack: Pack, embedded, clicks_pack: Path, tmp_path: Path, topic_name
) -> None:
    dead_letters = topic_name("dead")
    embedded.create_topic(dead_letters, 1)
    fraud = Fraud(tmp_path)
    fraud.environment |= {
        "KAFKA_BROKER_URL": embedded.address,
        "FRAUD_PACKS": str(clicks_pack),
        "APPLICATION_ID": topic_name("app"),
        "DEAD_LETTER_TOPIC": dead_letters,
        "DELIVERY": "at_least_once",
    }
    with fraud.running("run", "--health-port", 0), serve(counter=True) as page, page.browser() as browser:
        with page.browser() as somebody_else:
            somebody_else.post("/click")
        read_all(embedded, [f"{page.clicks}.legit"], 1, seconds=60)  # it runs

        began = time.monotonic()
        for _ in range(3):
            browser.post("/click")
        (message,) = read_all(embedded, [f"{page.clicks}.fraud"], 1)
        took = time.monotonic() - began
        counts = [json.loads(message.value()) for message in read_all(embedded, [pack.events[1].topics["block"]], 4)]

    verdict = json.loads(message.value())
    assert verdict["fraudulent"] is True
    assert verdict["session_id"] == browser.cookies[COOKIE]
    assert verdict["reason"] == ["3 clicks on /click in 10 s"]
    assert took < 5
    # The fourth press of the button is one too many for the counter, whoever it was.
    told = sorted((count["click_count"], count["fraudClick"]) for count in counts)  # partitions overtake each other
    assert told == [(1, "No"), (2, "No"), (3, "No"), (4, "Yes")]
