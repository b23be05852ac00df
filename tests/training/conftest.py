from pathlib import Path

import pytest

from tests.streams import Stream


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(tmp_path, 2_500)
