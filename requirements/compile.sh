#!/usr/bin/env bash
# Pins every dependency, with hashes, from pyproject.toml. Run it after a change there; CI fails when the files are stale.
set -euo pipefail
cd "$(dirname "$0")/.."
lock() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url "$@"; }
lock pyproject.toml -o requirements/base.txt
lock pyproject.toml --extra kafka --group dev -c requirements/base.txt -o requirements/dev.txt
