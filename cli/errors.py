"""What goes wrong, as a person at a terminal is told it: lines on stderr and an exit code."""

import sys
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException

from broker.errors import BrokerError, error_in
from dataflows.store.deployment import StoreError
from dataflows.store.skips import SkipError
from detection.errors import ModelError, PackError, TrainingError
from detection.settings import SettingsError
from simulation.produce import DeliveryError
from sources.files import FileError

PROBLEMS: Final = 1
USAGE: Final = 2
BROKER: Final = 3


class UsageError(Exception):
    """Options that do not go together."""


def tell(error: Exception) -> int:
    """Write the error to stderr, and return the exit code for it. What is none of ours is raised again."""
    match error:
        case PackError():
            lines, code = str(error).splitlines(), PROBLEMS
        case SettingsError():
            lines, code = [f"fraud: {line}" for line in error.lines], PROBLEMS
        case UsageError():
            lines, code = [f"fraud: {error}"], USAGE
        case BrokerError() | DeliveryError():
            lines, code = [f"fraud: {error}"], BROKER
        case FileError() | ModelError() | StoreError() | SkipError() | TrainingError():
            lines, code = [f"fraud: {error}"], PROBLEMS
        case OSError(filename=str() | Path() as path):
            lines, code = [f"fraud: {path}: {error.strerror}"], PROBLEMS
        case KafkaException():
            lines, code = [f"fraud: {error_in(error).str()}"], BROKER
        case _:
            raise error
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    return code
