import pytest

from cli.errors import tell


def test_a_file_that_cannot_be_used_is_told_with_its_path(capsys, tmp_path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "gone").read_text()

    assert tell(caught.value) == 1
    assert capsys.readouterr().err == f"fraud: {tmp_path}/gone: No such file or directory\n"


@pytest.mark.parametrize("error", [OSError("no file is in it"), ZeroDivisionError()])
def test_what_is_none_of_ours_is_raised_again(error: Exception) -> None:
    with pytest.raises(type(error)):
        tell(error)
