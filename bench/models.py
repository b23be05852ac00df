"""What models cost: one thread, without Kafka.

    python -m bench.models                             # 100 trees of 31 leaves over 14 features
    python -m bench.models --trees 300 --leaves 64

The scorer beside a plain walk from node to node, an explanation, and the whole judge with and without a model. Each
figure is that of the best batch of 100 in the same minute: quote the ratio, for other work on the machine drifts.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.packs import EVENT, feature, records, rule
from detection.loading import parse
from detection.models.explaining import Explainer
from detection.models.files import Manifest, Reference, write_model
from detection.models.forest import Forest, Row, Tree, on_grid
from detection.models.scoring import score_of, scorer
from detection.program import Engine
from training.scoring import batch_scorer

FEATURES = 14
ROWS = 2_000
BATCH = 100


def grown(chance: random.Random, leaves: int, features: int) -> Tree:
    """A tree that splits its largest leaf until it has so many, as boosting does."""
    tree = Tree([], [], [], [], [], [], [], [])

    def grow(number: int, cover: float) -> int:
        if number == 1:
            tree.value.append(on_grid(chance.gauss(0, 0.1)))
            tree.leaf_cover.append(cover)
            return ~(len(tree.value) - 1)
        node = len(tree.feature)
        tree.feature.append(chance.randrange(features))
        tree.threshold.append(chance.random())
        tree.missing_left.append(chance.choice((True, False)))
        tree.node_cover.append(cover)
        tree.left.append(0)
        tree.right.append(0)
        at_the_left = min(max(round(number * chance.uniform(0.25, 0.75)), 1), number - 1)
        tree.left[node] = grow(at_the_left, cover * at_the_left / number)
        tree.right[node] = grow(number - at_the_left, cover * (number - at_the_left) / number)
        return node

    grow(leaves, 1_000.0)
    return tree


def forest(trees: int, leaves: int, features: int) -> Forest:
    """Trees over values from 0 to 1."""
    chance = random.Random(3)
    return Forest("gradient_boosting", [grown(chance, leaves, features) for _ in range(trees)])


def walk(model: Forest) -> Callable[[Row], float]:
    """From node to node, over lists: what the scorer is measured against."""
    trees = [
        (list(zip(tree.feature, tree.threshold, tree.left, tree.right, tree.missing_left, strict=True)), tree.value)
        for tree in model.trees
    ]
    finish = score_of(model)

    def score(row: Row) -> float:
        total = 0.0
        for nodes, values in trees:
            child = 0
            while child >= 0:
                feature, threshold, left, right, missing_left = nodes[child]
                value = row[feature]
                child = left if (missing_left if value is None else value <= threshold) else right
            total += values[~child]
        return finish(total)

    return score


def micros(function: Callable[[Any], object], items: list[Any]) -> float:
    """Of one call."""
    begin = time.perf_counter()
    for item in items:
        function(item)
    return (time.perf_counter() - begin) / len(items) * 1e6


def best(rounds: int, *measured: tuple[Callable[[Any], object], list[Any]]) -> list[float]:
    """The best batch of several rounds of each, in turn."""
    found = [
        [
            min(micros(function, items[at : at + BATCH]) for at in range(0, len(items), BATCH))
            for function, items in measured
        ]
        for _ in range(rounds)
    ]
    return [min(column) for column in zip(*found, strict=True)]


def engine(folder: Path, model: Forest | None) -> Engine:
    """Ten features and a rule; with a model that looks at them and at both numbers of the event."""
    text = EVENT + "".join(map(feature, range(FEATURES - 2))) + rule(0)
    if model is None:
        return Engine(parse({str(folder / "bench.toml"): text}))
    names = ["amount", "n", *(f"f{number}" for number in range(FEATURES - 2))]
    return Engine(parse({str(folder / "bench.toml"): text + put(folder, text, "pay", names, model)}))


def put(folder: Path, text: str, event: str, names: list[str], model: Forest) -> str:
    """Write a model for a pack into its folder; the tables that name and read it."""
    listed = ", ".join(f'"{name}"' for name in names)
    more = f'\n[model.bench]\non = "{event}"\nfeatures = [{listed}]\nfile = "bench.model"\n'
    more += f'[rule.odd]\non = "{event}"\nwhen = "model.bench > 0.999999"\nreason = ""\nscore = 1\noutcome = "block"\n'
    (spec,) = parse({"bench.toml": text + more}, model_files=False).models
    reference = Reference([number / 10 for number in range(1, 10)], [1] * 10)
    manifest = Manifest(
        format=1,
        name="bench",
        kind=model.kind,
        event=event,
        features=names,
        definitions=spec.definitions,
        pack="",
        trained={},
        figures={},
        reference=dict.fromkeys([*names, "score"], reference),
    )
    write_model(folder / "bench.model", manifest, model)
    return more


def judging(number: int, models: Iterable[Forest | None]) -> list[tuple[Callable[[Any], object], list[Any]]]:
    """The judges, each with its events."""
    found: list[tuple[Callable[[Any], object], list[Any]]] = []
    with TemporaryDirectory() as folder:
        for model in models:
            made = engine(Path(folder), model)
            found.append((made.program.judges[0].judge, made.enrich(records(number, busy=False))))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--leaves", type=int, default=31)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    model = forest(options.trees, options.leaves, FEATURES)
    chance = random.Random(4)
    rows = [tuple(chance.random() for _ in range(FEATURES)) for _ in range(ROWS)]
    score, walked = scorer(model, FEATURES), walk(model)
    assert all(score(row) == walked(row) for row in rows)

    walking, scoring = best(options.rounds, (walked, rows), (score, rows))
    print(f"a walk            {walking:8.2f} us a row")
    print(f"the scorer        {scoring:8.2f} us a row, {walking / scoring:.1f} times as fast")
    matrix, together = np.array(rows), batch_scorer(model, FEATURES)
    assert together(matrix).tolist() == [score(row) for row in rows]
    batches = [matrix[begin : begin + BATCH] for begin in range(0, len(rows), BATCH)]
    at_once = min(micros(together, [batch]) for _ in range(options.rounds) for batch in batches) / BATCH
    print(f"{BATCH} at once       {at_once:8.2f} us a row, {walking / at_once:.1f} times as fast")
    explain = Explainer(model, FEATURES)
    cold, warm = micros(explain, rows[:50]), best(options.rounds, (explain, rows[:50]))[0]
    print(f"an explanation    {cold / 1e3:8.2f} ms, {warm / 1e3:.2f} ms when its decisions were seen before")
    without, with_model = best(options.rounds, *judging(20_000, (None, model)))
    print(f"the judge         {without:8.2f} us an event, {with_model:.2f} with a model")


if __name__ == "__main__":
    main()
