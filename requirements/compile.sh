#!/usr/bin/env bash
# Pins every dependency, with hashes, from pyproject.toml. Run it (`make lock`) after a change there.
#
#   compile.sh             write base.txt (to run), image.txt (to run in the image, with pages and alerts), dev.txt (to
#                          develop) and build.txt (to make the wheel); keeps the versions that still fit
#   compile.sh --upgrade   take the newest versions; or, with --upgrade-package NAME, of one package
#   compile.sh --check     fail when the files were made from other dependencies than pyproject.toml has (no network)
set -euo pipefail
cd "$(dirname "$0")/.."

# The first line of each file says what it was made from, so that a check needs neither a resolver nor a network.
made_from=$(python3 - <<'PYTHON'
import hashlib, json, tomllib

with open("pyproject.toml", "rb") as file:
    pyproject = tomllib.load(file)
project = pyproject["project"]
inputs = [pyproject["build-system"]["requires"], pyproject["dependency-groups"]]
inputs += [project.get(name) for name in ("requires-python", "dependencies", "optional-dependencies")]
digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
print(f"# made by requirements/compile.sh from the dependencies in pyproject.toml with SHA-256 {digest}")
PYTHON
)

if [ "${1-}" = --check ]; then
  for file in base image dev build; do
    if [ "$(head -n 1 requirements/$file.txt)" != "$made_from" ]; then
      echo "requirements/$file.txt: expected it to be made from pyproject.toml as it is, run: make lock" >&2
      exit 1
    fi
  done
  exit 0
fi

lock() { # file, inputs and options
  local file=requirements/$1.txt
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
    --no-emit-index-url "${@:2}" -o "$file"
  { echo "$made_from"; cat "$file"; } >"$file.new"
  mv "$file.new" "$file"
}
lock base pyproject.toml "$@"
lock image pyproject.toml --extra page --extra alerts -c requirements/base.txt "$@"
lock dev pyproject.toml --extra kafka --extra files --extra geo --extra page --extra alerts --extra train --group dev \
  -c requirements/image.txt "$@"
# dev.txt has these too, but an image that only makes the wheel need not install all of it.
python3 -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"]))' |
  lock build - -c requirements/dev.txt "$@"
