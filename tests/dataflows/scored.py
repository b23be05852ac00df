"""The pack of the dataflow tests with a model in it."""

import random
from pathlib import Path

from detection.loading import parse
from detection.models.files import Reference, write_model
from detection.models.forest import Forest, Tree
from detection.pack import Pack
from tests.dataflows.examples import LOOKING, WIDE
from tests.detection.models.forests import fields, manifest, tree

FEATURES = ["amount", "user_spent", "device_users", "merchant_sales", "pair", "received"]
SCORED = """
[model.payments]
on = "payment"
features = ["amount", "user_spent", "device_users", "merchant_sales", "pair", "received"]
file = "payments.model"

[rule.odd]
on = "payment"
when = "model.payments > 0.6"
reason = "ML anomaly detection {model.payments}: {model.payments.top}"
score = 20
outcome = "review"
"""


def forest(seed: int) -> Forest:
    """Trees whose thresholds lie among the values of the traffic."""
    chance = random.Random(seed)
    trees = [tree(chance, len(FEATURES), 12, [1.0, 2.0, 3.0, 4.0, 99.99, 250.0, 500.0]) for _ in range(20)]
    return Forest("gradient_boosting", [Tree(**{**fields(one), "value": [v / 5 for v in one.value]}) for one in trees])


def scored(folder: Path) -> Pack:
    """The pack as the files in the folder say."""
    return parse({str(folder / "scored.toml"): WIDE + SCORED, str(folder / "looking.toml"): LOOKING})


def put(folder: Path, seed: int, file: str = "payments.model") -> str:
    """Train a model, so to speak; its id."""
    (spec,) = scored(folder / "nothing is there").models
    reference = {"amount": Reference([1.0, 100.0], [1, 1, 1]), "score": Reference([0.5], [1, 1])}
    told = manifest(event="payment", features=FEATURES, definitions=spec.definitions, reference=reference)
    return write_model(folder / file, told, forest(seed))
