"""The tests run from the source distribution too, so it has whatever they read."""

import pytest
from hatchling.builders.sdist import SdistBuilder


@pytest.fixture(scope="module")
def packed(root) -> set[str]:
    return {file.distribution_path for file in SdistBuilder(str(root)).recurse_included_files()}


@pytest.mark.parametrize(
    "name",
    [
        ".ci/run",
        ".ci/readme.py",
        ".dockerignore",
        ".env.example",
        ".github/workflows/ci.yml",
        "CONTRIBUTING.md",
        "Dockerfile",
        "Makefile",
        "SECURITY.md",
        "docker-compose.yml",
        "docker-compose.app.yml",
        "docker-compose.cluster.yml",
        "packs/clicks.toml",
        "requirements/base.txt",
        "tests/deploy/conftest.py",
    ],
)
def test_what_the_tests_read_is_in_the_source_distribution(name: str, packed: set[str]) -> None:
    assert name in packed


def test_nothing_that_is_private_to_a_checkout_is_in_it(packed: set[str]) -> None:
    assert not [name for name in packed if name == ".env" or name.startswith((".git/", ".venv/", "recovery/"))]
