"""Names for values."""

from detection.expressions import Constants


def test_equal_values_of_one_type_share_a_name_and_others_do_not() -> None:
    constants = Constants()
    values = [1, 1.0, True, 0.0, -0.0, "1", (1,), (1.0,), (0.0,), (-0.0,), frozenset({1}), frozenset({True})]

    names = [constants.bind(value) for value in values]

    assert names == [f"k{number}" for number in range(len(values))]
    assert [constants.bind(value) for value in values] == names
    assert [repr(value) for value in constants.values.values()] == [repr(value) for value in values]


def test_a_value_without_a_hash_is_itself_alone() -> None:
    constants = Constants()
    first: list[int] = []

    assert constants.bind(first) == constants.bind(first) == "k0"
    assert constants.bind([]) == "k1"


def test_a_local_is_handed_out_once() -> None:
    constants = Constants()

    assert [constants.local() for _ in range(3)] == ["t0", "t1", "t2"]
