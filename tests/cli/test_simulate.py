import re
import signal


def test_a_seed_repeats_the_same_events(fraud, transfers, embedded, consume_all) -> None:
    for _ in range(2):
        told = fraud("simulate", "transfers", "--count", 20, "--rate", 1000, "--seed", 5, "--fraud-share", 0.5)

    start, end = told.splitlines()
    assert start == f"{transfers('TRANSACTIONS_TOPIC')} on {embedded.address}: 1000 a second, seed 5"
    assert re.fullmatch(r"sent 20 events in \d+\.\d s \([\d,.]+ a second\), \d+ of them frauds", end)
    messages = consume_all(embedded, [transfers("TRANSACTIONS_TOPIC")], 40, extra_seconds=0.2)
    values = sorted(message.value() for message in messages)
    assert len(values) == 40
    assert values[::2] == values[1::2]


def test_without_a_seed_each_run_tells_another(fraud, transfers) -> None:
    seeds = {fraud("simulate", "transfers", "--count", 0).partition("seed ")[2].split()[0] for _ in range(2)}

    assert len(seeds) == 2


def test_transfers_come_at_the_rate_of_the_settings(fraud, transfers) -> None:
    fraud.environment["TRANSACTIONS_PER_SECOND"] = "321"

    assert ": 321 a second, " in fraud("simulate", "transfers", "--count", 0)


def test_a_run_ends_after_the_seconds_given(fraud, transfers) -> None:
    sent = re.search(r"sent ([\d,]+) events", fraud("simulate", "transfers", "--rate", 100, "--seconds", 0.5))

    assert sent
    assert 30 <= int(sent[1]) <= 51


def test_an_interrupt_ends_the_run_with_its_counts(fraud, transfers) -> None:
    with fraud.running("simulate", "transfers", "--rate", 50) as process:
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=30)

    assert process.returncode == 0
    assert re.search(r"^sent \d+ events in ", out, re.MULTILINE)
    assert error == ""
