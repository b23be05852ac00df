"""Files of packs, and those that they extend."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from detection.errors import PackError, Problem
from detection.positions import Positions

LARGEST_FILE: Final = 1_000_000
"""Characters of a pack file."""

LONGEST_KEY: Final = 32
"""Names that dots join to one key. Reading one takes time by the square of their number."""

_LONG_KEY = re.compile(rf"""(?:(?:(?<![\w-])[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{LONGEST_KEY}}}""")


def excess(text: str) -> tuple[int, str]:
    """What is too much in a text, before anybody parses it: the line, and the words; empty if nothing is."""
    if len(text) > LARGEST_FILE:
        return 0, f"pack: expected at most {LARGEST_FILE:,} characters, got more"
    if found := _LONG_KEY.search(text):
        return text.count("\n", 0, found.start()) + 1, f"not TOML: expected at most {LONGEST_KEY} names in a key"
    return 0, ""


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
            with path.open(encoding="utf-8-sig") as file:
                text = file.read(LARGEST_FILE + 1)  # of what has no end, such as a device, too
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
    if excess(text)[1]:
        return []
    try:
        names = tomllib.loads(text).get("extends")
    except (ValueError, RecursionError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
