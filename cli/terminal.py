"""What the commands write: colours only for people, and nothing that could take over a terminal."""

import re
from typing import Final, NoReturn

from rich.console import Console
from typing_extensions import override

_ESCAPES: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\].*?(?:\x07|\x1b\\)|\x9b[0-?]*[ -/]*[@-~]", re.DOTALL)
STYLES: Final = {"FRAUD": "bold red", "REVIEW": "yellow", "LEGIT": "green", "DEAD": "magenta"}
"""Colours beside the words for verdicts, never instead of them."""

_HIDDEN: Final = "�"


class Terminal(Console):
    """A rich console, so NO_COLOR, pipes and dumb terminals get plain text; a closed pipe is left to `main`."""

    @override
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def stdout() -> Terminal:
    """The console for results. Text is neither wrapped nor coloured by guesses at what it means."""
    return Terminal(highlight=False, soft_wrap=True, markup=False, emoji=False)


def clean(text: str) -> str:
    r"""Text from an event, as it may be shown: no escape sequences, and a mark for each character that prints nothing.

    Among these are line breaks, which would let an event write lines of its own, and what turns the direction of text.

    >>> clean("a\x1b[31mb\nc\u202ed") == "ab\ufffdc\ufffdd"
    True
    """
    return "".join(character if character.isprintable() else _HIDDEN for character in _ESCAPES.sub("", text))
