#!/usr/bin/env python3
"""Prints the commands of a Markdown file that can be run as written, one a line, each once.

That is each line `$ make …` or `$ fraud …` in a fenced `console` block, a trailing backslash continuing it. Other lines
are output, or what cannot be run everywhere (`docker`, `pip`). A block whose info string says `norun`
(```` ```console norun ````) is left out: what needs a broker, or does not end.

Run: .ci/readme.py README.md
"""

import re
import sys
from pathlib import Path

_BLOCK = re.compile(
    r"^ *(?P<fence>`{3,})console(?P<info>[^\n`]*)\n(?P<body>.*?)^ *(?P=fence)", re.MULTILINE | re.DOTALL
)
_COMMAND = re.compile(r"^ *\$ ((?:make|fraud)\b.*)$", re.MULTILINE)
_COMMENT = re.compile(r"\s+#.*|\s+$")


def commands(markdown: str) -> list[str]:
    """The commands to run, in their order."""
    bodies = [block["body"] for block in _BLOCK.finditer(markdown) if "norun" not in block["info"].split()]
    continued = (re.sub(r"\\\n *(?:> )?", "", body) for body in bodies)
    found = (_COMMENT.sub("", command) for body in continued for command in _COMMAND.findall(body))
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    sys.stdout.writelines(f"{command}\n" for command in commands(Path(sys.argv[1]).read_text()))
