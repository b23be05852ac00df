"""Where a value stands in a TOML file. Read only to report an error: tomllib keeps the values, but not their places."""

from typing import TypeAlias

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

Path: TypeAlias = tuple[str | int, ...]
Position: TypeAlias = tuple[int, int]


class Positions:
    r"""The line and column, both 1-based and in characters, of each key and value of a TOML text.

    >>> places = Positions('[rule.a]\nwhen = "x > 1"')
    >>> places.value(("rule", "a", "when")), places.inside(("rule", "a", "when"), 2)
    ((2, 8), (2, 11))
    """

    def __init__(self, text: str) -> None:
        self._bytes = text.encode()
        self._keys: dict[Path, Node] = {}
        self._values: dict[Path, Node] = {}
        self._tree = Parser(Language(tree_sitter_toml.language())).parse(self._bytes)
        lengths: dict[Path, int] = {}
        for node in self._tree.root_node.named_children:
            match node.type:
                case "pair":
                    self._pair((), node)
                case "table":
                    path = self._resolve(self._path(node.named_children[0]), lengths)
                    self._table(path, node)
                case "table_array_element":
                    array = self._resolve(self._path(node.named_children[0]), lengths)
                    index = lengths.get(array, 0)
                    lengths[array] = index + 1
                    self._table((*array, index), node)
                case _:
                    pass

    def key(self, path: Path) -> Position:
        """The place of the key, or of the nearest table around it that is written down."""
        return self._nearest(path, self._keys, self._values)

    def value(self, path: Path) -> Position:
        """The place of the value, or of the nearest table around it that is written down."""
        return self._nearest(path, self._values, self._keys)

    def inside(self, path: Path, offset: int) -> Position:
        """The place of the character at `offset` of a string value; of the string itself if it holds escapes."""
        node = self._values.get(path)
        if node is None or node.type != "string" or not node.text:
            return self.value(path)
        raw = node.text.decode()
        quote = raw[:3] if raw[:3] in {'"""', "'''"} else raw[:1]
        skip = len(quote) + (len(quote) == len('"""') and raw[len(quote) :].startswith("\n"))
        if quote.startswith('"') and "\\" in raw:
            return self._point(node)
        before = raw[: skip + offset]
        line, column = self._point(node)
        if "\n" in before:
            return line + before.count("\n"), len(before) - before.rindex("\n")
        return line, column + len(before)

    def _nearest(self, path: Path, first: dict[Path, Node], second: dict[Path, Node]) -> Position:
        for length in range(len(path), 0, -1):
            node = first.get(path[:length]) or second.get(path[:length])
            if node is not None:
                return self._point(node)
        return 1, 1

    def _point(self, node: Node) -> Position:
        start = self._bytes.rfind(b"\n", 0, node.start_byte) + 1
        return node.start_point.row + 1, len(self._bytes[start : node.start_byte].decode()) + 1

    def _table(self, path: Path, node: Node) -> None:
        for length in range(1, len(path) + 1):  # `[rule.a]` is also where `rule` is first named
            self._keys.setdefault(path[:length], node.named_children[0])
        for child in node.named_children[1:]:
            if child.type == "pair":
                self._pair(path, child)

    def _pair(self, prefix: Path, pair: Node) -> None:
        key, value = pair.named_children[:2]
        path = (*prefix, *self._path(key))
        self._keys[path] = key
        self._value(path, value)

    def _value(self, path: Path, value: Node) -> None:
        self._values[path] = value
        if value.type == "inline_table":
            for pair in value.named_children:
                if pair.type == "pair":
                    self._pair(path, pair)
        elif value.type == "array":
            for index, item in enumerate(child for child in value.named_children if child.type != "comment"):
                self._value((*path, index), item)

    def _path(self, key: Node) -> Path:
        if key.type == "dotted_key":
            return tuple(part for child in key.named_children for part in self._path(child))
        text = (key.text or b"").decode()
        return (text[1:-1] if key.type == "quoted_key" else text,)

    def _resolve(self, path: Path, lengths: dict[Path, int]) -> Path:
        """`[[rule.a.test]]` is element n of an array; a table below it belongs to the newest element."""
        resolved: Path = ()
        for part in path[:-1]:
            resolved = (*resolved, part)
            if resolved in lengths:
                resolved = (*resolved, lengths[resolved] - 1)
        return (*resolved, path[-1])
