"""Files of packs, and those that they extend."""

import tomllib
from collections.abc import Iterable
from pathlib import Path

from detection.errors import PackError, Problem
from detection.positions import Positions


def read(paths: Iterable[str | Path]) -> dict[str, str]:
    """The texts of pack files and of those they extend, by file name; what is extended stands first.

    Raises:
        PackError: Files cannot be read.
    """
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    seen: set[Path] = set()

    def add(path: Path, named_at: tuple[str, int, int]) -> None:
        if path.resolve() in seen:
            return
        seen.add(path.resolve())
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            detail = f"cannot be read: {getattr(error, 'strerror', None) or error}"
            subject = "pack" if named_at[0] == str(path) else f"extends: {path}"
            problems.append(Problem(*named_at, f"{subject}: {detail}"))
            return
        for index, base in enumerate(_extended(text)):
            add(path.parent / base, (str(path), *Positions(text).value(("extends", index))))
        texts[str(path)] = text

    for path in paths:
        add(Path(path), (str(path), 0, 0))
    if problems:
        raise PackError(problems)
    return texts


def _extended(text: str) -> list[str]:
    """What a text extends; nothing if that is not well said, which `parse` will tell."""
    try:
        names = tomllib.loads(text).get("extends")
    except (ValueError, RecursionError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
