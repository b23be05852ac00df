import pytest

from detection.errors import UndecodableError
from detection.labels import Labels, read_label


def add(labels: Labels, offset: int, *, fraud: bool | None, partition: int = 0, at: int = 0) -> None:
    labels.add("clicks/0/1", fraud=fraud, partition=partition, offset=offset, at=at)


def test_in_a_partition_the_later_label_counts_whatever_its_timestamp() -> None:
    labels = Labels()
    add(labels, 1, fraud=True, at=100)
    add(labels, 2, fraud=False, at=50)
    assert labels.get("clicks/0/1") is False
    add(labels, 1, fraud=True, at=900)
    assert labels.get("clicks/0/1") is False


def test_over_partitions_the_one_with_the_later_timestamp_counts() -> None:
    labels = Labels()
    add(labels, 1, fraud=True, at=100)
    add(labels, 9, fraud=False, partition=1, at=99)
    assert labels.get("clicks/0/1") is True
    add(labels, 10, fraud=False, partition=1, at=101)
    assert labels.get("clicks/0/1") is False


def test_a_label_may_be_taken_back() -> None:
    labels = Labels()
    add(labels, 1, fraud=True)
    add(labels, 2, fraud=None)

    assert labels.get("clicks/0/1") is None
    assert labels.get("clicks/0/2") is None


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        (None, b'{"origin":"a/0/1","fraudulent":true,"user":"x"}', ("a/0/1", True)),
        (b"a/0/2", b'{"origin":"a/0/1","fraudulent":false}', ("a/0/1", False)),
        (b"a/0/2", b'{"fraudulent":true}', ("a/0/2", True)),
        (b"a/0/2", b'{"origin":"a/0/1"}', ("a/0/1", None)),
        (b"a/0/2", None, ("a/0/2", None)),
    ],
)
def test_a_label_names_its_event_by_a_member_or_its_key(key, value, says) -> None:
    assert read_label(key, value) == says


@pytest.mark.parametrize(
    ("key", "value"),
    [(None, None), (None, b"{}"), (b"\xff", b"{}"), (b"k", b"["), (b"k", b'{"fraudulent":"yes"}'), (b"k", b"[" * 9_000)],
)  # fmt: skip
def test_what_is_no_label_is_an_error(key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(UndecodableError, match="no label"):
        read_label(key, value)
