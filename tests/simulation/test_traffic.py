import pytest

from simulation.traffic import FraudBudget, iso, seeded


@pytest.mark.parametrize("needed_first", [0, 2, 7])
def test_a_budget_pays_its_share_however_many_records_a_burst_needs_first(needed_first):
    budget = FraudBudget(seeded(1), 0.1)
    frauds = run_up = 0
    for _ in range(50_000):
        if not budget.due():
            run_up = 0
        elif run_up < needed_first:
            run_up += 1
        else:
            frauds += 1
            budget.paid()

    assert frauds / 50_000 == pytest.approx(0.1, rel=0.05)


def test_a_fraud_nobody_ordered_is_taken_off_what_is_owed():
    budget = FraudBudget(seeded(1), 1.0)
    for _ in range(100):
        budget.paid()

    assert not any(budget.due() for _ in range(100))
    assert [budget.due() for _ in range(10)][-1]


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000"),
        (1_000, "1970-01-01T00:00:00.001"),
        (1_709_251_199_999_000, "2024-02-29T23:59:59.999"),
    ],
)
def test_times_are_written_in_utc_with_milliseconds_and_no_zone(at, text):
    assert iso(at) == text
