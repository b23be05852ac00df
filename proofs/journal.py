"""What a proof has done so far, in a file, so that a run that was cut short goes on; and what it says at the end."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from detection.ledger import Report

SIZES: Final = ("small", "middle", "full")


class Result(msgspec.Struct, kw_only=True):
    """What became of one round.

    Attributes:
        round: Its number.
        kind: What was injected.
        injected: How many faults,
        took_effect: and how many of them hit something.
        records: How many records there were.
        lost: Records without an answer,
        doubled: with several,
        foreign: answers to no record.
        content: Whether the clicks' verdicts are those of the oracle: equal, differs, or not compared since not exact.
        problems: What else was not as it has to be.
        notes: What is worth knowing.
    """

    round: int
    kind: str
    injected: int
    took_effect: int
    records: int
    lost: int = 0
    doubled: int = 0
    foreign: int = 0
    content: str = "not compared"
    problems: list[str] = []
    notes: dict[str, Any] = {}

    @property
    def holds(self) -> bool:
        """Whether it is exact."""
        return not (self.lost or self.doubled or self.foreign or self.problems) and self.content != "differs"


def result(report: Report, expected: Report | None, **more: Any) -> Result:
    """What an audit says of a round whose records all had time to be answered: what is pending is lost."""
    content, problems = "not compared", list(more.pop("problems", []))
    if report.held_back:
        problems.append(f"an open transaction hides the end of {', '.join(report.held_back)}")
    lost = report.lost + report.pending
    if expected is not None and not (lost or report.doubled or report.foreign):
        compared = {address: count.digest for address, count in report.inputs.items() if address in expected.inputs}
        content = "equal" if compared == {a: c.digest for a, c in expected.inputs.items()} else "differs"
    return Result(
        records=report.records,
        lost=lost,
        doubled=report.doubled,
        foreign=report.foreign,
        content=content,
        problems=problems,
        **more,
    )


class _File(msgspec.Struct):
    proof: str
    arguments: dict[str, Any]
    results: list[Result]


class Journal:
    """The rounds of a proof.

    Attributes:
        results: Those that are done.
    """

    def __init__(self, proof: str, arguments: Mapping[str, Any], path: Path | None) -> None:
        """Go on from the file, if it is there.

        Raises:
            SystemExit: It is that of a run with other arguments.
        """
        self._path = path
        self._file = _File(proof, dict(arguments), [])
        if path is not None and path.exists():
            found = msgspec.json.decode(path.read_bytes(), type=_File)
            if (found.proof, found.arguments) != (proof, self._file.arguments):
                sys.exit(f"{path}: expected a run of {proof} with {self._file.arguments}, got {found.arguments}")
            self._file = found

    @property
    def results(self) -> list[Result]:
        """The rounds done."""
        return self._file.results

    def has(self, number: int) -> bool:
        """Whether a round is done."""
        return any(done.round == number for done in self.results)

    def add(self, done: Result) -> None:
        """Keep a round, and say what became of it."""
        self.results.append(done)
        self._say(done)
        if self._path is not None:
            partial = self._path.with_suffix(".part")
            partial.write_bytes(msgspec.json.format(msgspec.json.encode(self._file), indent=1))
            partial.replace(self._path)

    def close(self) -> int:
        """Say what became of all rounds; gives the exit code."""
        results = self.results
        total = {
            name: sum(getattr(done, name) for done in results)
            for name in ("injected", "took_effect", "records", "lost", "doubled", "foreign")
        }
        contents = [done.content for done in results]
        print(
            f"{self._file.proof}: injected {total['injected']:,}, took effect {total['took_effect']:,}, "
            f"over {total['records']:,} records: lost {total['lost']:,}, doubled {total['doubled']:,}, "
            f"foreign {total['foreign']:,}; content equal in {contents.count('equal')} of {len(contents)} rounds"
        )
        for done in results:
            for problem in done.problems:
                print(f"round {done.round} ({done.kind}): {problem}")
        return 0 if all(done.holds for done in results) else 1

    def _say(self, done: Result) -> None:
        notes = "".join(f", {name} {value}" for name, value in done.notes.items())
        print(
            f"  round {done.round:3} {done.kind}: injected {done.injected}, took effect {done.took_effect}, "
            f"{done.records:,} records: lost {done.lost}, doubled {done.doubled}, foreign {done.foreign}, "
            f"content {done.content}{notes}{''.join(f'; {problem}' for problem in done.problems)}",
            flush=True,
        )


def parser(document: str) -> argparse.ArgumentParser:
    """The options all proofs have."""
    made = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--size", choices=SIZES, default="small", help="how much of it")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--state", type=Path, help="keep what is done in this file, and go on from there")
    made.add_argument("--keep", type=Path, help="keep logs, packs and stores in this folder")
    return made


@contextmanager
def folder_of(keep: Path | None) -> Iterator[Path]:
    """Where a proof puts its files."""
    folder = Path(tempfile.mkdtemp(prefix="fraud-proof-")) if keep is None else keep
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
