"""Files of models: data only, and each thing in them is checked before anything is made of it.

The first line is the manifest, the rest the forest, both JSON.
"""

from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from detection.errors import ModelError
from detection.files import FOR_ALL, replace
from detection.models.forest import MOST_FEATURES, Forest, ForestError, check_forest, expect

FORMAT: Final = 1
LARGEST_FILE: Final = 32 * 1024 * 1024
SCORE: Final = "score"
"""What the reference of the scores is named, beside those of the features."""

MOST_EDGES: Final = 9
_ID_DIGITS: Final = 12


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a feature or the score was spread in training.

    Attributes:
        edges: Bounds of classes, ascending, at most 9, as of deciles; a value belongs to the first class whose edge it
            does not exceed, or to the last class.
        counts: Of each class, one more than there are edges.
        unknown: How many values were unknown.
    """

    edges: list[float]
    counts: list[int]
    unknown: int = 0


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model is, and where it comes from.

    Attributes:
        format: Of the file: 1.
        name: What its pack calls it.
        kind: As in the forest.
        event: The event type that it scores.
        features: Its fields and features, in order.
        definitions: Digest of what defines those; a pack with another one refuses the model.
        pack: Hash of the pack it was trained under; for people.
        trained: How: from and to (ISO times of events), rows, frauds, labels_until, seed, settings.
        figures: How good, on time that it was not trained on.
        reference: By feature, and `score`.
        sha256: Of the forest's bytes; `write_model` puts it in.
    """

    format: int
    name: str
    kind: str
    event: str
    features: list[str]
    definitions: str
    pack: str
    trained: dict[str, Any]
    figures: dict[str, float]
    reference: dict[str, Reference]
    sha256: str = ""


class Model(msgspec.Struct, frozen=True):
    """A model out of a file.

    Attributes:
        manifest: What it is.
        forest: Its trees, checked.
        id: The first 12 hex digits of the SHA-256 of the file.
    """

    manifest: Manifest
    forest: Forest
    id: str


class _Format(msgspec.Struct):
    format: int


def write_model(path: Path, manifest: Manifest, forest: Forest) -> str:
    """Write a model, so that a reader finds the old file or the new one.

    Returns:
        Its id.

    Raises:
        ModelError: `read_model` would refuse it.
        OSError: It cannot be written.
    """
    body = msgspec.json.encode(forest)
    manifest = msgspec.structs.replace(manifest, sha256=sha256(body).hexdigest())
    content = msgspec.json.encode(manifest) + b"\n" + body
    model = decode_model(str(path), content)
    replace(path, content, FOR_ALL)
    return model.id


def read_model(path: Path) -> Model:
    """Read a model.

    Raises:
        ModelError: It cannot be read, or is no model: the file, what was expected, what came.
    """
    return decode_model(str(path), read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, or, of one that is too large for a model, some more than a model may have.

    Raises:
        ModelError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_FILE + 1)
    except OSError as error:
        msg = f"{path}: cannot read it: {error.strerror or error}"
        raise ModelError(msg) from None


def identity_of(content: bytes) -> str:
    """The id of the model in these bytes."""
    return sha256(content).hexdigest()[:_ID_DIGITS]


def decode_model(name: str, content: bytes) -> Model:
    """As `read_model`, from the bytes of a file of that name."""
    try:
        return _decode(content)
    except (ForestError, msgspec.DecodeError, UnicodeDecodeError) as error:
        told = " ".join(str(error).splitlines())
        msg = f"{name}: {told if told.startswith('JSON') else told[:1].lower() + told[1:]}"
        raise ModelError(msg) from None
    except RecursionError:
        msg = f"{name}: expected a model, got JSON nested too deeply"
        raise ModelError(msg) from None


def _decode(content: bytes) -> Model:
    expect(len(content) <= LARGEST_FILE, "file", f"at most {LARGEST_FILE} bytes", "more")
    head, _, body = content.partition(b"\n")
    try:
        version = msgspec.json.decode(head, type=_Format).format
    except msgspec.DecodeError as error:
        msg = f"manifest: expected a line of JSON with a format: {error}"
        raise ForestError(msg) from None
    expect(version == FORMAT, "format", str(FORMAT), version)
    manifest = msgspec.json.decode(head, type=Manifest)
    digest = sha256(body).hexdigest()
    expect(manifest.sha256 == digest, "sha256 of the forest", manifest.sha256[:64], digest)
    forest = msgspec.json.decode(body, type=Forest)
    expect(manifest.kind == forest.kind, "kind", forest.kind, manifest.kind)
    names = manifest.features
    expect(1 <= len(names) <= MOST_FEATURES, "features", f"1 to {MOST_FEATURES}", len(names))
    expect(len(set(names)) == len(names), "features", "different names", "one of them twice")
    for name, reference in manifest.reference.items():
        expect(name == SCORE or name in names, "reference", "a feature or score", name)
        _check_reference(f"reference {name}", reference)
    check_forest(forest, len(names))
    return Model(manifest, forest, identity_of(content))


def _check_reference(place: str, reference: Reference) -> None:
    edges, counts = reference.edges, reference.counts
    expect(len(edges) <= MOST_EDGES, f"{place}: edges", f"at most {MOST_EDGES}", len(edges))
    expect(all(a < b for a, b in pairwise(edges)), f"{place}: edges", "ascending numbers", edges)
    expect(len(counts) == len(edges) + 1, f"{place}: counts", f"{len(edges) + 1} for {len(edges)} edges", len(counts))
    expect(min(*counts, reference.unknown) >= 0, f"{place}: counts", "no negative ones", min(*counts, 0))
