import subprocess
import sys

import pytest

from detection.loading import load
from proofs import hostile
from proofs.audit_hook import Watch

PROOF = [sys.executable, "-m", "proofs.hostile"]


def test_twenty_thousand_hostile_records_run_no_code_and_have_one_answer_each() -> None:
    # In a process of its own: an audit hook stays until the end of its process.
    done = subprocess.run([*PROOF, "--records", "20000"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "records 20,000, hostile 17," in done.stdout
    assert "unanswered 0, doubled 0, code run 0" in done.stdout


WATCHED = """
import {used}
from proofs.audit_hook import Watch
watch = Watch()
with watch.watching():
    {code}
print(len(watch.seen))
"""


@pytest.mark.parametrize(
    "code",
    [
        "eval('1')",
        "exec('')",
        "compile('1', '', 'eval')",
        "import wave",
        "open('/dev/null')",
        "socket.socket()",
        "subprocess.run('true')",
        "os.system('true')",
        "os.listdir()",
        "pickle.loads(b'cos\\nsystem\\n.')",
        "marshal.loads(marshal.dumps(1))",
        "ctypes.CDLL(None)",
        "(lambda: 0).__code__.replace(co_name='x')",
    ],
)
def test_the_watch_sees_what_runs_code(code: str) -> None:
    program = WATCHED.format(used="ctypes, marshal, os, pickle, socket, subprocess", code=code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert int(done.stdout) > 0


def test_the_watch_is_quiet_about_work_on_data() -> None:
    program = WATCHED.format(used="json", code="json.dumps(json.loads('[1.5]')); sorted('ab'); 'a'.format(1)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "0\n"


class Off(Watch):
    """Sees nothing, and so leaves no hook behind."""

    def __init__(self) -> None:
        self.seen = []
        self._on = False


def test_a_chunk_comes_again_by_its_seed() -> None:
    pack = load(hostile.PACKS)

    first, *_ = hostile.prove(pack, 500, 3, Off())
    again, *_ = hostile.prove(pack, 500, 3, Off())
    other, *_ = hostile.prove(pack, 500, 4, Off())

    assert first == again != other


@pytest.mark.parametrize(
    ("lies", "told"),
    [
        (lambda found: found[1:], "unanswered"),
        (lambda found: [*found, found[0]], "answered 2 times"),
        (lambda found: [(found[0][0], found[1][1]), *found[1:]], "two answers"),
    ],
)
def test_an_answer_that_is_lost_doubled_or_changed_is_told(lies, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pack, truth = load(hostile.PACKS), hostile.by_dataflow
    monkeypatch.setattr(hostile, "by_dataflow", lambda *arguments: lies(truth(*arguments)))

    with pytest.raises(hostile.Broken, match=told):
        hostile.prove(pack, 100, 3, Off())


def test_a_record_that_takes_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "SLOWEST", 0.0)
    monkeypatch.setattr(hostile, "SLOWEST_BYTE", 0.0)

    with pytest.raises(hostile.Broken, match=r"took \d+\.\d ms"):
        hostile.prove(load(hostile.PACKS), 100, 3, Off())
