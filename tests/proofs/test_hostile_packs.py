import re
import subprocess
import sys

import pytest

from proofs import hostile_packs


def test_more_than_a_thousand_hostile_packs_are_refused_or_harmless() -> None:
    # In a process of its own: an audit hook stays until the end of its process.
    done = subprocess.run([sys.executable, "-m", "proofs.hostile_packs"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    found = re.match(
        r"packs ([\d,]+), refused ([\d,]+), loaded and harmless ([\d,]+), failed 0, problems 0,", done.stdout
    )
    assert found, done.stdout
    packs, refused, loaded = (int(number.replace(",", "")) for number in found.groups())
    assert packs == refused + loaded > 1_000
    assert min(refused, loaded) > 500


@pytest.mark.parametrize(
    "code",
    [
        "exec(compile('1', 'x.py', 'exec'))",
        "exec(compile('open', '<generated run 1>', 'exec'))",
        "exec(compile('f = lambda: ().__class__', '<generated run 1>', 'exec'))",
        "import wave",
        "open('/dev/null')",
    ],
)
def test_code_that_no_generator_of_ours_makes_is_seen(code: str) -> None:
    program = f"from proofs.hostile_packs import CodeWatch\nwatch = CodeWatch()\nwatch.on = True\n{code}\nwatch.on = False\nprint(len(watch.seen))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert int(done.stdout) > 0


def test_each_pack_is_another() -> None:
    texts = [text for _, text in hostile_packs.packs()]

    assert len(set(texts)) > 0.95 * len(texts)
