"""Small files beside the recovery store."""

import os
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Write a file for its owner only, so that who reads it, also after a crash, finds the old content or the new."""
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        partial.chmod(0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
