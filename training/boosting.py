"""Gradient boosting from labels: LightGBM trains, and its trees become our own.

G. Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree" (NeurIPS 2017).
"""

from typing import Any, Final

import lightgbm
import msgspec
import numpy as np

from detection.models.forest import Forest, Tree, on_grid
from training.arrays import Flags, Matrix
from training.trees import NodeArrays, tree_of


class Boosting(msgspec.Struct, frozen=True, kw_only=True):
    """How trees are grown. One set for all: nothing here is fitted to a stream.

    Attributes:
        rounds: How many trees.
        leaves: Most leaves of a tree.
        learning_rate: What each tree's answer is multiplied by.
        least_in_leaf: Fewest rows of a leaf, but no more than a 500th of all rows, or 20. With so many rows a leaf's
            answer is half its own and half that of the node above: what is found in few rows is mostly chance.
        least_gain: What a split has to gain, in log-likelihood: what gains less is mostly chance, and takes time.
        bins: How finely values are told apart. What divides frauds from others may lie among the rarest values, which
            few bins would throw together.
        share_of_features: Of the features each tree may look at.
        others_per_fraud: So many rows that are no fraud are drawn for each that is, with a weight that makes up for the
            rest: thousands of them say little that hundreds do not, and the time goes with their number.
        seed: Of what is drawn.
    """

    rounds: int = 300
    leaves: int = 31
    learning_rate: float = 0.03
    least_in_leaf: int = 200
    least_gain: float = 5.0
    bins: int = 4_095
    share_of_features: float = 0.5
    others_per_fraud: int = 30
    seed: int = 1


def boost(rows: Matrix, frauds: Flags, settings: Boosting | None = None) -> Forest:
    """Grow a forest that tells frauds from others: the same one for the same arguments, on any number of cores.

    Args:
        rows: A row for each event; NaN where a value is unknown.
        frauds: Whether each was a fraud; some are, and some are not.
        settings: How.
    """
    return forest_of(train(rows, frauds, settings or Boosting()))


def train(rows: Matrix, frauds: Flags, settings: Boosting) -> lightgbm.Booster:
    """As `boost`, in LightGBM's own form."""
    share = min(1.0, settings.others_per_fraud * float(frauds.sum()) / float((~frauds).sum()))
    drawn = frauds | (np.random.default_rng(settings.seed).random(len(frauds)) < share)
    labels = frauds[drawn]
    named = _named(settings, len(labels))
    weight = np.where(labels, 1.0, 1.0 / share)
    data = lightgbm.Dataset(rows[drawn], labels.astype(np.float64), weight=weight, params={"max_bin": settings.bins})
    return lightgbm.train({**_FIXED, **named}, data, settings.rounds)


def forest_of(booster: lightgbm.Booster) -> Forest:
    """The trees of a model with one class, whose leaves add up to the same, to 2⁻⁴¹ a tree."""
    trees = booster.dump_model()["tree_info"]
    return Forest("gradient_boosting", [_tree(tree["tree_structure"]) for tree in trees])


_FIXED: Final[dict[str, Any]] = {
    "objective": "binary",
    "num_threads": 1,  # several threads wait for each other by spinning: more work in all, and less on a busy machine
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


_SHARE: Final = 500
_LEAST: Final = 20


def _named(settings: Boosting, rows: int) -> dict[str, Any]:
    least = min(settings.least_in_leaf, max(_LEAST, rows // _SHARE))
    return {
        "num_leaves": settings.leaves,
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": least,
        "path_smooth": least,
        "min_gain_to_split": settings.least_gain,
        "max_bin": settings.bins,
        "feature_fraction": settings.share_of_features,
        "seed": settings.seed,
    }


def _tree(root: dict[str, Any]) -> Tree:
    """Children before their parents would do as well: `tree_of` numbers them anew."""
    arrays = NodeArrays()
    ahead: list[tuple[dict[str, Any], int, bool]] = [(root, -1, False)]
    while ahead:
        node, parent, is_left = ahead.pop()
        if "left_child" in node:
            place = arrays.inner(
                node["split_feature"], node["threshold"], _missing_left(node), float(node["internal_count"])
            )
            ahead += [(node["right_child"], place, False), (node["left_child"], place, True)]
        else:
            # A tree that splits nothing says neither how many rows came to it.
            place = arrays.leaf(on_grid(node["leaf_value"]), float(node.get("leaf_count") or 1))
        arrays.link(parent, place, is_left=is_left)
    return tree_of(arrays)


def _missing_left(node: dict[str, Any]) -> bool:
    """Where LightGBM sends what is missing: by its default if training met any at this feature, else as zero."""
    if node["missing_type"] == "NaN":
        return bool(node["default_left"])
    return bool(node["threshold"] >= 0.0)
