"""Errors that a person can act on: where, what was expected, what came."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a pack.

    Attributes:
        file: The pack's path.
        line: 1-based; 0 where no place is known.
        column: 1-based; 0 where no place is known.
        message: What was expected and what came.
        hint: What would mend it.
    """

    file: str
    line: int
    column: int
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class PackError(ValueError):
    """A pack that cannot be used. Tells all its problems at once, one a line."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UndecodableError(ValueError):
    """A record that is no event of its topic: it becomes a dead letter."""


class StateError(RuntimeError):
    """A stored state that this release or pack cannot continue from."""


class ModelError(ValueError):
    """A model that cannot be used: its file, what was expected, what came."""


class TrainingError(ValueError):
    """No model can be made, or compared: what was expected, what came."""
