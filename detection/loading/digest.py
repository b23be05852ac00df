"""Hashes of what packs say."""

import hashlib
import json


def digest(value: object) -> str:
    """SHA-256 of what JSON can hold, whatever the order of its members."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
