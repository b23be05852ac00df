"""Reading packs: every problem of every file is told at once, with its place."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from detection.loading.files import read
from detection.loading.loader import Loader
from detection.pack import Pack
from detection.settings import DEFAULT_TOPICS

__all__ = ["load", "parse", "read"]


def load(paths: Iterable[str | Path], topics: Mapping[str, str] | None = None, *, model_files: bool = True) -> Pack:
    """Read and check pack files.

    Args:
        paths: The files; loaded together, with those they extend, they form one set.
        topics: Topics by the name of their setting; absent: the defaults.
        model_files: Whether to read the files of models; without them all scores are unknown.

    Raises:
        PackError: With every problem found, each with its place.
    """
    return parse(read(paths), topics, model_files=model_files)


def parse(texts: Mapping[str, str], topics: Mapping[str, str] | None = None, *, model_files: bool = True) -> Pack:
    """As `load`, from texts by file name."""
    loader = Loader({**DEFAULT_TOPICS, **(topics or {})}, model_files=model_files)
    for name, text in texts.items():
        loader.read(name, text)
    return loader.finish()
