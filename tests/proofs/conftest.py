"""What the tests of proofs on a real Kafka share."""

from uuid import uuid4

import pytest

from proofs.journal import Result


@pytest.fixture
def seed() -> int:
    """One of its own: topics are named by it."""
    return int(uuid4().hex[:8], 16)


def told(done: Result) -> str:
    """All of it: pytest shortens what is no text."""
    return f"{done}"
