import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.sealed import DamagedError, seal, unseal


@given(st.binary(max_size=200))
def test_what_is_sealed_is_unsealed_again(content: bytes) -> None:
    assert bytes(unseal(seal(content))) == content


@given(st.binary(max_size=60), st.data())
def test_a_bit_that_turned_is_noticed_wherever_it_is(content: bytes, data: st.DataObject) -> None:
    sealed = bytearray(seal(content))
    place = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[place // 8] ^= 1 << place % 8

    with pytest.raises(DamagedError):
        unseal(bytes(sealed))


@given(st.binary(max_size=60), st.data())
def test_what_is_cut_short_is_noticed(content: bytes, data: st.DataObject) -> None:
    sealed = seal(content)

    with pytest.raises(DamagedError):
        unseal(sealed[: data.draw(st.integers(0, len(sealed) - 1))])


@pytest.mark.parametrize("other", [b"", b"\x84\xa6format", None, {"format": 1}])
def test_what_was_never_sealed_is_told_so(other: object) -> None:
    with pytest.raises(DamagedError, match="expected a checksum, got none"):
        unseal(other)  # type: ignore[arg-type]
