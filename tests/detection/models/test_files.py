"""Files of models, whole and damaged."""

import json
import pickle
import re
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.errors import ModelError
from detection.models.files import LARGEST_FILE, Reference, decode_model, read_model, write_model
from detection.models.forest import Forest
from tests.detection.models.forests import FOREST, STUMP, fields, forests, manifest


def content(change: Callable[[dict[str, Any]], object] = lambda _: None, **head: Any) -> bytes:
    """A file whose forest was changed before it was hashed."""
    trees = json.loads(json.dumps([fields(STUMP), fields(STUMP)]))
    forest = {"kind": "gradient_boosting", "trees": trees, "scale": 1.0, "knots": []}
    change(forest)
    body = json.dumps(forest).encode()
    made = {name: getattr(manifest(), name) for name in manifest().__struct_fields__}
    made |= {"reference": {}, "sha256": sha256(body).hexdigest(), **head}
    return json.dumps(made).encode() + b"\n" + body


def refused(file: bytes) -> str:
    with pytest.raises(ModelError) as refusal:
        decode_model("models/payments.model", file)
    message = str(refusal.value)
    assert message.startswith("models/payments.model: ")
    assert "\n" not in message
    return message.removeprefix("models/payments.model: ")


@given(forests())
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, forest: Forest) -> None:
    path = tmp_path_factory.mktemp("models") / "payments.model"
    told = manifest(kind=forest.kind, features=["a", "b", "c"], reference={"a": Reference([0.5], [1, 2], 3)})

    identity = write_model(path, told, forest)
    model = read_model(path)

    assert (model.forest, model.id) == (forest, identity)
    assert model.manifest.features == ["a", "b", "c"]
    assert model.id == sha256(path.read_bytes()).hexdigest()[:12]
    assert list(path.parent.iterdir()) == [path]


def test_a_model_that_would_be_refused_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "payments.model"
    write_model(path, manifest(), FOREST)
    before = path.read_bytes()

    with pytest.raises(ModelError, match="features: expected 1 to 256, got 0"):
        write_model(path, manifest(features=[], reference={}), FOREST)

    assert path.read_bytes() == before


@pytest.mark.parametrize("place", [0, 40, -1, -40])
def test_a_file_that_is_cut_short_is_refused(place: int) -> None:
    file = content()
    at = file.index(b"\n") + place if place >= 0 else len(file) + place

    assert refused(file[:at])


@given(st.data())
def test_a_byte_that_turned_in_the_forest_is_noticed(data: st.DataObject) -> None:
    file = bytearray(content())
    place = data.draw(st.integers(file.index(b"\n") + 1, len(file) - 1))
    file[place] ^= data.draw(st.integers(1, 255))

    assert "sha256 of the forest: expected " in refused(bytes(file))


@given(st.data())
def test_a_byte_that_turned_anywhere_changes_no_tree(data: st.DataObject) -> None:
    file = bytearray(content())
    file[data.draw(st.integers(0, len(file) - 1))] ^= data.draw(st.integers(1, 255))

    with suppress(ModelError):
        assert decode_model("payments.model", bytes(file)).forest == decode_model("", content()).forest


@given(st.binary(max_size=200))
def test_bytes_that_are_no_model_are_refused(file: bytes) -> None:
    assert refused(file)


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    *way, last, value = path

    def change(forest: dict[str, Any]) -> None:
        found: Any = forest
        for step in way:
            found = found[step]
        found[last] = value

    return change


ONE = ("trees", 1)
WRONG: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (_set("trees", []), "trees: expected 1 to 1000, got 0"),
    (_set("trees", [{}]), "object missing required field `feature` - at `$.trees[0]`"),
    (_set("kind", "random_forest"), "invalid enum value 'random_forest' - at `$.kind`"),
    (_set("kind", "isolation_forest"), "kind: expected isolation_forest, got gradient_boosting"),
    (_set("other", 1), "object contains unknown field `other`"),
    (_set("scale", 0), "scale: expected a positive number, got 0.0"),
    (_set("scale", "1"), "expected `float`, got `str` - at `$.scale`"),
    (_set("knots", [[0.5, 1], [0.4, 1]]), "knots[1]: expected a raw score above 0.5, got 0.4"),
    (_set("knots", [[0.5, 1], [0.6, 0.9]]), "knots[1]: expected a score of at least 1.0, got 0.9"),
    (_set("knots", [[0.5, 1.1]]), "knots[0]: expected a score of 0 to 1, got 1.1"),
    (_set(*ONE, "feature", [1]), "trees[1].feature[0]: expected an index below 1, got 1"),
    (_set(*ONE, "feature", [-1]), "trees[1].feature[0]: expected an index below 1, got -1"),
    (_set(*ONE, "feature", [True]), "expected `int`, got `bool` - at `$.trees[1].feature[0]`"),
    (_set(*ONE, "feature", []), "trees[1].feature: expected 1 inner nodes for 2 leaves, got 0"),
    (_set(*ONE, "threshold", []), "trees[1].threshold: expected 1 members, got 0"),
    (_set(*ONE, "left", [0]), "trees[1]: inner node 0: expected one way to it, got two, or a cycle"),
    (_set(*ONE, "left", [-2]), "trees[1]: leaf 1: expected leaf 0, in order from left to right, got 1"),
    (_set(*ONE, "right", [-1]), "trees[1]: leaf 0: expected leaf 1, in order from left to right, got 0"),
    (_set(*ONE, "right", [-3]), "trees[1]: a child: expected -2 to 0, got -3"),
    (_set(*ONE, "right", [1]), "trees[1]: a child: expected -2 to 0, got 1"),
    (_set(*ONE, "value", [0, 1e7]), "trees[1].value: expected numbers up to ±1000000, got 10000000.0"),
    (_set(*ONE, "value", []), "trees[1].value: expected 1 to 64 leaves, got 0"),
    (_set(*ONE, "value", [0.0] * 65), "trees[1].value: expected 1 to 64 leaves, got 65"),
    (_set(*ONE, "value", [0, None]), "expected `float`, got `null` - at `$.trees[1].value[1]`"),
    (_set(*ONE, "leaf_cover", [1, 0]), "trees[1].leaf_cover: expected positive numbers, got 0.0"),
    (_set(*ONE, "leaf_cover", [1]), "trees[1].leaf_cover: expected 2 members, got 1"),
    (_set(*ONE, "node_cover", [-1]), "trees[1].node_cover: expected positive numbers, got -1.0"),
    (_set(*ONE, "missing_left", [1]), "expected `bool`, got `int` - at `$.trees[1].missing_left[0]`"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_forest_is_refused_with_the_place_and_what_came(
    change: Callable[[dict[str, Any]], None], message: str
) -> None:
    assert refused(content(change)) == message


def test_a_cycle_below_the_root_is_refused() -> None:
    cycle = {**fields(STUMP), "feature": [0, 0], "threshold": [1, 2], "left": [-1, 1], "right": [-2, -3]}
    cycle |= {"missing_left": [True, True], "node_cover": [1, 1], "value": [0, 0, 0], "leaf_cover": [1, 1, 1]}

    assert "inner nodes: expected a way to each of 2, got one to 1" in refused(content(_set("trees", [cycle])))
    cycle["right"], cycle["left"] = [1, -3], [-1, 1]
    assert "inner node 1: expected one way to it, got two, or a cycle" in refused(content(_set("trees", [cycle])))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    head, _, body = content().partition(b"\n")
    body = body.replace(b"[100.0]", f"[{number}]".encode(), 1)
    head = re.sub(rb'"sha256": "\w+"', b'"sha256": "%b"' % sha256(body).hexdigest().encode(), head)

    assert re.match("JSON is malformed|number out of range", refused(head + b"\n" + body))


WRONG_HEADS: list[tuple[dict[str, Any], str]] = [
    ({"format": 2}, "format: expected 1, got 2"),
    ({"format": "1"}, "manifest: expected a line of JSON with a format: Expected `int`, got `str` - at `$.format`"),
    ({"sha256": "0" * 64}, f"sha256 of the forest: expected {'0' * 64}, got "),
    ({"kind": "isolation_forest"}, "kind: expected gradient_boosting, got isolation_forest"),
    ({"features": []}, "features: expected 1 to 256, got 0"),
    ({"features": ["a"] * 2}, "features: expected different names, got one of them twice"),
    ({"features": [str(number) for number in range(257)]}, "features: expected 1 to 256, got 257"),
    ({"reference": {"user": {"edges": [], "counts": [1]}}}, "reference: expected a feature or score, got user"),
    ({"reference": {"score": {"edges": [2, 1], "counts": [1] * 3}}}, "reference score: edges: expected ascending"),
    ({"reference": {"score": {"edges": [1], "counts": [1]}}}, "reference score: counts: expected 2 for 1 edges, got 1"),
    ({"reference": {"score": {"edges": [], "counts": [-1]}}}, "reference score: counts: expected no negative ones"),
    ({"reference": {"score": {"edges": list(range(10)), "counts": [1] * 11}}}, "reference score: edges: expected at"),
    ({"figures": {"auc": "high"}}, "expected `float`, got `str` - at `$.figures[...]`"),
    ({"more": 1}, "object contains unknown field `more`"),
]


@pytest.mark.parametrize(("head", "message"), WRONG_HEADS, ids=[message for _, message in WRONG_HEADS])
def test_a_wrong_manifest_is_refused_with_what_came(head: dict[str, Any], message: str) -> None:
    assert refused(content(**head)).startswith(message)


def test_a_file_too_large_is_refused_without_reading_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "payments.model"
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1_000_000)

    with pytest.raises(ModelError, match=f"payments.model: file: expected at most {LARGEST_FILE} bytes, got more"):
        read_model(path)


def test_a_forest_whose_scoring_would_take_too_much_memory_is_refused() -> None:
    wide = {
        name: value * 40 if name in {"feature", "threshold", "missing_left", "node_cover"} else value
        for name, value in fields(STUMP).items()
    }
    wide |= {
        "left": [*range(1, 40), -1],
        "right": list(range(-41, -1)),
        "value": [0.5] * 41,
        "leaf_cover": [1.0] * 41,
    }

    assert decode_model("m", content(_set("trees", [wide] * 600)))
    assert refused(content(_set("trees", [wide] * 1_000))).startswith("trees: expected such as take a scorer of 13421")


@pytest.mark.parametrize("nested", [b"[" * 100_000, b'{"a":' * 100_000])
def test_nesting_too_deep_is_refused(nested: bytes) -> None:
    assert refused(content().replace(b'"rows": 10', b'"rows": ' + nested))
    body = b'{"kind": "gradient_boosting", "trees": ' + nested
    head = re.sub(rb'"sha256": "\w+"', b'"sha256": "%b"' % sha256(body).hexdigest().encode(), content().split(b"\n")[0])
    assert refused(head + b"\n" + body)


def test_a_pickle_is_refused_and_never_loaded() -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return pytest.fail, ("a pickle was loaded",)

    assert refused(pickle.dumps(Bomb())).startswith("manifest: expected a line of JSON with a format")


def test_a_missing_file_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=re.escape(f"{tmp_path / 'no.model'}: cannot read it: No such file")):
        read_model(tmp_path / "no.model")
    with pytest.raises(ModelError, match="cannot read it: Is a directory"):
        read_model(tmp_path)
