import pytest

from cli.terminal import clean


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain text, äöü, 漢字, 🦊", "plain text, äöü, 漢字, 🦊"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("\x9b31mred", "red"),
        ("\x1b", "�"),
        ("one\ntwo\rthree\ttab", "one�two�three�tab"),
        ("back\x08space\x7f", "back�space�"),
        ("right\u202eleft", "right�left"),
        ("zero\u200bwidth", "zero�width"),
        ("\x1b\x1b[31m[2J", "�[2J"),
    ],
)
def test_nothing_that_a_terminal_acts_on_is_shown(given: str, shown: str) -> None:
    assert clean(given) == shown
