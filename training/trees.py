"""Trees of learning libraries as ours: inner nodes from the root down, leaves from left to right."""

from typing import NamedTuple

from detection.models.forest import Tree


class _Inner(NamedTuple):
    feature: int
    threshold: float
    missing_left: bool
    cover: float


class _Leaf(NamedTuple):
    value: float
    cover: float


class NodeArrays:
    """The nodes of one tree, in any order.

    Attributes:
        nodes: What they are.
        left: Of each inner node, its child for values up to the threshold.
        right: Of each inner node, its other child.
        root: Where it begins.
    """

    def __init__(self) -> None:
        self.nodes: list[_Inner | _Leaf] = []
        self.left: dict[int, int] = {}
        self.right: dict[int, int] = {}
        self.root = 0

    def inner(self, feature: int, threshold: float, missing_left: bool, cover: float) -> int:  # noqa: FBT001
        """Add an inner node; gives its place."""
        self.nodes.append(_Inner(feature, threshold, missing_left, cover))
        return len(self.nodes) - 1

    def leaf(self, value: float, cover: float) -> int:
        """Add a leaf; gives its place."""
        self.nodes.append(_Leaf(value, cover))
        return len(self.nodes) - 1

    def link(self, parent: int, child: int, *, is_left: bool) -> None:
        """Say whose child one is; the root's parent is -1."""
        if parent < 0:
            self.root = child
        else:
            (self.left if is_left else self.right)[parent] = child


def tree_of(arrays: NodeArrays) -> Tree:
    """The tree of these nodes.

    >>> arrays = NodeArrays()
    >>> low, high = arrays.leaf(1.0, 3.0), arrays.leaf(2.0, 4.0)
    >>> top = arrays.inner(0, 0.5, True, 7.0)
    >>> arrays.link(top, low, is_left=True); arrays.link(top, high, is_left=False); arrays.link(-1, top, is_left=False)
    >>> tree = tree_of(arrays)
    >>> tree.left, tree.right, tree.value
    ([-1], [-2], [1.0, 2.0])
    """
    tree = Tree([], [], [], [], [], [], [], [])
    ahead: list[tuple[int, list[int] | None, int]] = [(arrays.root, None, 0)]
    while ahead:
        place, children, parent = ahead.pop()
        node = arrays.nodes[place]
        if isinstance(node, _Leaf):
            number = ~len(tree.value)
            tree.value.append(node.value)
            tree.leaf_cover.append(node.cover)
        else:
            number = len(tree.feature)
            tree.feature.append(node.feature)
            tree.threshold.append(node.threshold)
            tree.missing_left.append(node.missing_left)
            tree.node_cover.append(node.cover)
            tree.left.append(0)
            tree.right.append(0)
            ahead += [(arrays.right[place], tree.right, number), (arrays.left[place], tree.left, number)]
        if children is not None:
            children[parent] = number
    return tree
