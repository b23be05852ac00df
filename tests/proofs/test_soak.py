import random

import pytest

from proofs.soak import Sample, judge


def samples(growth_mb: float = 0.0, files: int = 0, threads: int = 0, latency: float = 0.0) -> list[Sample]:
    """An hour, each five seconds, with so much growth in it, and noise of 2 MB."""
    rng = random.Random(1)
    return [
        Sample(
            at=5.0 * number,
            megabytes=200 + growth_mb * number / 720 + rng.gauss(0, 2),
            files=40 + files * number // 720,
            threads=20 + threads * number // 720,
            p99=50 + latency * number / 720 + rng.random(),
            longest=700 if number == 360 else 90,
        )
        for number in range(721)
    ]


def test_what_stays_is_fine() -> None:
    notes, problems = judge(samples())

    assert problems == []
    assert (notes["files"], notes["longest"]) == ("40 to 40", "700 ms")


@pytest.mark.parametrize(
    ("grown", "subject"),
    [({"growth_mb": 5}, "memory"), ({"files": 1}, "files"), ({"threads": 3}, "threads"), ({"latency": 90}, "p99")],
)
def test_what_grows_is_told(grown: dict[str, float], subject: str) -> None:
    _, problems = judge(samples(**grown))

    assert [problem.split(":")[0] for problem in problems] == [subject]


def test_a_soak_without_verdicts_does_not_hold() -> None:
    _, problems = judge([sample._replace(p99=None) for sample in samples()])

    assert [problem.split(":")[0] for problem in problems] == ["p99"]
