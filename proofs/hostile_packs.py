"""Hostile packs: what an author could write who wants the engine to run code, fall or hang.

    python -m proofs.hostile_packs

Each pack is refused, with a place and in words, or loads and judges some records harmlessly: no code runs that is not
generated, none of that names anything but what generated code needs, nothing is opened or imported, and it takes less
than two seconds.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import CodeType
from typing import Any, Final

from detection.check import START, run_tests
from detection.errors import PackError
from detection.loading import parse
from detection.program import Engine
from detection.records import Record
from proofs.audit_hook import FORBIDDEN
from proofs.mutations import VALUES, examples, mutated

SLOWEST: Final = 2.0
"""The most that one pack may take, to load, to generate and to judge a few records, s of processor time."""

SHIPPED: Final = sorted((Path(__file__).parent.parent / "packs").glob("*.toml"))

EVENT: Final = """
[event.pay]
topic = "pays"
fields = { user = "str", amount = "money", n = "int", x = "float", flag = "bool", memo = "str?" }
"""
PLAIN_FEATURE: Final = 'on = "pay"\nkey = ["user"]\nfn = "count"\nwindow = "10s"\n'
PLAIN_RULE: Final = 'on = "pay"\nwhen = "n > 0"\nreason = "r"\nscore = 1\noutcome = "block"\n'

EXPRESSIONS: Final = [
    "__import__('os').system('touch /tmp/pwned')",
    "(lambda: 1)()",
    "().__class__.__bases__[0].__subclasses__()",
    "user.__class__",
    "user.format(user)",
    "user.__class__.__mro__[1] == 1",
    "exec('1')",
    "eval('1') == 1",
    "open('/etc/passwd')",
    "print(user)",
    "getattr(user, 'x')",
    "globals()",
    "breakpoint()",
    "e.f_user",
    "e",
    "k0",
    "t0",
    "L_x",
    "rule0.hits",
    "hits",
    "raw",
    "encode(user)",
    "decisions",
    "full",
    "n > 0) or __import__('os').abort() or (n > 0",
    "n > 0\nimport os",
    "n > 0 # comment",
    "n > 0; import os",
    "n > 0 // comment",
    "[x for x in [1]]",
    "{'a': user}",
    "f'{user}'",
    "user == '''\n'''",
    "user == r'\\'",
    "user == '\\U0001F600\\x00\\377'",
    "user == b'x'",
    "user == '{user}'",
    'user == "\\" or 1 or \\""',
    "user == '\u2028'",
    "n > 9223372036854775807",
    "n > 9223372036854775808",
    "n == -9223372036854775808",
    "n > " + "9" * 10_000,
    "x > 1e308",
    "x > 1e309",
    "x > 1e-400",
    "n / 0 > 1",
    "n % 0 > 1",
    "n * n * n * n > 0",
    "-n > 0",
    "x / x > 0.0",
    "n > 0x7fffffffffffffff",
    "user.matches('(a+)+$')",
    "user.matches('" + "(a*)*" * 50 + "')",
    "user.contains('" + "a" * 50_000 + "')",
    "user in ['" + "', '".join(map(str, range(5_000))) + "']",
    "n in [" + ", ".join(map(str, range(5_000))) + "]",
    "(" * 50 + "n > 0" + ")" * 50,
    "(" * 5_000 + "n > 0" + ")" * 5_000,
    "(" * 50_000,
    "!" * 200 + "flag",
    "!" * 20_000 + "flag",
    "-" * 20_000 + "n > 0",
    " && ".join(["n > 0"] * 2_000),
    " || ".join(["n > 0"] * 2_000),
    " + ".join(["n"] * 2_000) + " > 0",
    "flag ? " * 100 + "flag" + " : flag" * 100,
    "flag ? " * 5_000 + "flag" + " : flag" * 5_000,
    "n > 0" + " " * 90_000,
    "user + " * 500 + "user == 'a'",
    "[1, 2].all(i, i > 0)",
    "[1, 2].exists(i, [1, 2].exists(j, i == j))",
    "has(user.x)",
    "dyn(user) == 1",
    "type(user) == string",
    "google.protobuf.Any{}",
    "google.protobuf.Timestamp{seconds: 1} == timestamp('2026-01-01T00:00:00Z')",
    "duration('999999999h') > duration('1s')",
    "timestamp('9999-12-31T23:59:59Z') > timestamp('0001-01-01T00:00:00Z')",
    "user.size() > 99999999999999999999",
    "string(n) == user",
    "int(user) > 0",
    "double(user) > 0.0",
    "bytes(user) == b''",
    ".user == 'a'",
    "user.user.user.user == 1",
    "`user` == 'a'",
    "class == 1",
    "\0",
    "\ud7ff",
    "null",
    "user == null",
    "true",
    "1",
    "'a'",
    "",
    " ",
    "%",
    "${jndi:ldap://x}",
]
NAMES: Final = [
    "__class__", "__init__", "__import__", "__dict__", "__del__", "__reduce__", "__proto__", "__builtins__", "__debug__",
    "class", "def", "import", "lambda", "None", "True", "yield", "async", "global", "del", "print", "exec", "eval", "open",
    "self", "e", "r", "t", "w", "p", "o", "h", "k", "k0", "keep", "hits", "raw", "full", "added", "decisions", "Verdict",
    "encode", "parse", "exact", "derive", "stamp", "times0", "origins0", "c0_0", "keys0", "get0", "marks0", "joined",
    "events", "roles", "logs", "watermarks", "v_v", "f_user", "features", "watermark", "partition", "offset", "time", "key",
    "kind", "lane", "sequence", "warming", "clash", "answered", "score", "fraudulent", "decision", "reason", "verdict",
    "a" * 250, "a" * 5_000, "_", "__", "ﬁeld", "имя", "a-b", "a b", "a.b", "a;b", "a\\nb", "a'b", 'a\\"b', "a\\u0000b", "",
]  # fmt: skip
REASONS: Final = [
    "{user.__class__}", "{user[0]}", "{0}", "{}", "{user!r}", "{user:>99999999999}", "{user:{user}}", "{user!x}", "{", "}",
    "{{", "}}", "{{{{{user}}}}}", "{user", "user}", "{ user }", "{__class__}", "{e}", "{e.f_user}", "{nobody}", "%s%s%n",
    "%(user)s", "$user ${user}", "\\u0000", "\\u202e", "{memo}" * 500, "a" * 100_000, "\\\"' + __import__('os').abort() + '",
    "'''", "{amount} {n} {x} {flag} {memo}", "<script>", "=1+1", "\\r\\nSet-Cookie: a=b", "{user}\\n{user}",
]  # fmt: skip
DURATIONS: Final = [
    "0s", "-1s", "1", "s", "", "1e9s", "999999999999999999d", "9" * 5_000 + "s", "1.5s", "1 s", "1s1s", "１０s", "91d", "90d",
    "10_0s", "0x10s", "1ns", "1w", "NaN", "inf", "1s; import os", "{n}s", "89d23h59m59s",
]  # fmt: skip
TOPICS: Final = [
    "", ".", "..", "../../etc/passwd", "a/b", "a b", "a\\u0000", "a" * 250, "${HOME}", "${PATH}", "${KAFKA_SASL_PASSWORD}",
    "${__class__}", "$(id)", "`id`", "pays.fraud", "__consumer_offsets", "имя",
]  # fmt: skip
KINDS: Final = [
    "", "?", "str?", "str??", "object", "bytes", "money:", "money:nobody", "money:user", "money:amount:amount", "str @",
    "str @ a..b", "str @ .a", "str @ " + ".".join("a" * 300), "str @ __class__.__init__", "str @ a.b @ c", "eval", "int | str",
    "list[int]", "str @ " + "a" * 100_000, "str @ a\\u0000b", "str @ verdict.reason", "str @ #time",
]  # fmt: skip
WHOLE: Final = [
    "",
    "a",
    "=",
    "\0",
    "\ufeff" + EVENT,
    "a = " + "[" * 100_000,
    "a = " + "[" * 300 + "]" * 300,
    "a = " + "{a = " * 5_000 + "1" + "}" * 5_000,
    "[" + ".".join("a" * 5_000) + "]",
    "a" + ".a" * 20_000 + " = 1",
    "a = " + "9" * 100_000,
    "a = 1e400\nb = nan\nc = -inf",
    "a = 0x" + "f" * 10_000,
    "[event]\n" * 2,
    "[[event]]\n[[event]]\n",
    "event = 1",
    "event = []",
    "event.pay = {}",
    "[event.pay]\n" * 100,
    "".join(f"[event.e{n}]\ntopic = 't{n}'\nfields = {{}}\n" for n in range(200)),
    "".join(f"[x{n}]\n" for n in range(20_000)),
    'a = "' + "\\u0000" * 20_000 + '"',
    "a = '''" + "'" * 2 + "\n" * 100_000 + "'''",
    "# " + "x" * 1_000_000,
    "\n" * 1_000_000,
    "a = 9999-99-99T99:99:99Z",
    "a = 2026-01-01\nb = 00:00:00.9999999999999999",
    "extends = 1",
    "extends = ['" + "x" * 10_000 + "']",
    "lateness = ''\n" + EVENT,
    EVENT.replace("fields = {", 'fields = { "user\\u0000" = "str",'),
    EVENT + "[feature.f]\n" + PLAIN_FEATURE.replace('["user"]', "[" + '"user",' * 5_000 + "]"),
    EVENT + "[feature.f]\n" + PLAIN_FEATURE.replace('["user"]', "[]"),
    EVENT + "[feature.f]\n" + PLAIN_FEATURE.replace('"count"', '"__class__"'),
    EVENT + "[feature.f]\n" + PLAIN_FEATURE.replace('"count"', '"system"'),
    EVENT + "[feature.f]\n" + PLAIN_FEATURE + "of = 'user'\n",
    EVENT + "".join(f"[feature.f{n}]\n{PLAIN_FEATURE}" for n in range(300)),
    EVENT + "".join(f"[rule.r{n}]\n{PLAIN_RULE}" for n in range(300)),
    EVENT + "busiest = { user = 9223372036854775807 }\n[feature.f]\n" + PLAIN_FEATURE,
    EVENT + "busiest = { user = " + "9" * 4_000 + " }\n[feature.f]\n" + PLAIN_FEATURE.replace("10s", "90d"),
    EVENT + "[list.l]\nmembers = [" + '"a",' * 50_000 + "]\n",
    EVENT + "[list.l]\nmembers = { __class__ = 1 }\nvalue = 'int'\n",
    EVENT + "[rule.r]\n" + PLAIN_RULE.replace("score = 1", "score = " + "9" * 4_000),
    EVENT + "[rule.r]\n" + PLAIN_RULE.replace("score = 1", "score = nan"),
    EVENT + "[rule.r]\n" + PLAIN_RULE + "mode = '__class__'\n",
    EVENT + "[rule.r]\n" + PLAIN_RULE + "[[rule.r.test]]\ngiven = [{ '*' = 9999999999 }]\nfires = [true]\n",
    EVENT + "[rule.r]\n" + PLAIN_RULE + "[[rule.r.test]]\ngiven = [{ '@' = '" + "9" * 500 + "d' }]\nfires = [true]\n",
    EVENT + "[rule.r]\n" + PLAIN_RULE + "[[rule.r.test]]\ngiven = [{ '#' = '__class__' }]\nfires = [true]\n",
]


def packs() -> Iterator[tuple[str, str]]:
    """All packs, each with a name: what is hostile about it, and a number."""
    found: list[tuple[str, str]] = []
    for text in EXPRESSIONS:
        quoted = json.dumps(text)
        found += [
            ("condition", f"{EVENT}[rule.r]\n" + PLAIN_RULE.replace('"n > 0"', quoted)),
            ("derived field", f"{EVENT}derive = {{ d = {quoted} }}\n[rule.r]\n" + PLAIN_RULE),
            ("added member", f"{EVENT}add = {{ d = {quoted} }}\n"),
            ("where", f"{EVENT}[feature.f]\n{PLAIN_FEATURE}where = {quoted}\n[rule.r]\n" + PLAIN_RULE),
        ]
    for name in NAMES:
        found += [
            ("event", EVENT.replace("[event.pay]", f'[event."{name}"]')),
            (
                "field",
                EVENT.replace("user =", f'"{name}" =')
                + f"[rule.r]\n{PLAIN_RULE.replace('n > 0', f'{name} == {name}')}",
            ),
            (
                "feature",
                f'{EVENT}[feature."{name}"]\n{PLAIN_FEATURE}[rule.r]\n' + PLAIN_RULE.replace("n > 0", f"{name} > 0"),
            ),
            ("rule", f'{EVENT}[rule."{name}"]\n' + PLAIN_RULE),
            ("member", f'{EVENT}add = {{ "{name}" = "n" }}\n'),
            (
                "list",
                f'{EVENT}[list."{name}"]\nmembers = ["a"]\n[rule.r]\n' + PLAIN_RULE.replace("n > 0", f"user in {name}"),
            ),
        ]
    found += [("reason", f"{EVENT}[rule.r]\n" + PLAIN_RULE.replace('"r"', f'"{reason}"')) for reason in REASONS]
    for duration in DURATIONS:
        feature = f"{EVENT}[feature.f]\n" + PLAIN_FEATURE.replace("10s", duration)
        found += [("window", feature), ("lateness", f'lateness = "{duration}"\n{EVENT}')]
        found += [
            (name, f'{EVENT}[feature.f]\n{PLAIN_FEATURE}{name} = "{duration}"\n')
            for name in ("delay", "session", "resolution")
        ]
    found += [("topic", EVENT.replace('"pays"', f'"{topic}"')) for topic in TOPICS]
    found += [("output topic", f'{EVENT}block_topic = "{topic}"\n') for topic in TOPICS]
    found += [("kind", EVENT.replace('memo = "str?"', f'memo = "{kind}"')) for kind in KINDS]
    found += [("time", f'{EVENT}time = "{kind}"\n') for kind in KINDS]
    found += [("file", text) for text in WHOLE]
    random = Random(4)
    for _ in range(400):
        raw = mutated(random.choice(SHIPPED).read_bytes(), random)
        found.append(("mutated", raw.decode("utf-8", "replace")))
    for number, (name, text) in enumerate(found):
        yield f"{name} {number}", text


class CodeWatch:
    """Sees what code is made and run, and what is opened, while it is on.

    Attributes:
        seen: What may not be.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or not event.startswith(FORBIDDEN) or (event == "import" and arguments[0] in _ASKED_FOR):
            return
        self.on = False
        if event == "exec":
            self.seen += _strange(arguments[0])
        elif event == "compile":
            if not str(arguments[1]).startswith(("<generated ", "<expression>")):
                self.seen.append(f"compile {arguments!r:.200}")
        else:
            self.seen.append(f"{event} {arguments!r:.200}")
        self.on = True


_ASKED_FOR: Final = frozenset(["google", "google.protobuf", "google.protobuf.descriptor_pool"])
"""What the CEL checker looks for whenever a scope is declared, whatever the pack says."""

_BUILTINS: Final = frozenset(
    [
        "eval",
        "exec",
        "open",
        "compile",
        "getattr",
        "setattr",
        "delattr",
        "globals",
        "locals",
        "vars",
        "dir",
        "breakpoint",
        "input",
        "print",
        "super",
        "classmethod",
        "memoryview",
        "help",
        "exit",
        "quit",
        "os",
        "sys",
        "importlib",
        "subprocess",
        "builtins",
    ]
)


def _strange(code: CodeType) -> list[str]:
    """What generated code would have no business with: another file's code, dunder names, dangerous builtins."""
    if not code.co_filename.startswith("<generated "):
        return [f"exec of {code.co_filename}"]
    names = {name for name in code.co_names if name.startswith("__") or name in _BUILTINS}
    inner = [item for constant in code.co_consts if isinstance(constant, CodeType) for item in _strange(constant)]
    return [*inner, *(f"{code.co_name} names {name}" for name in sorted(names))]


def attempt(text: str) -> str:
    """What becomes of a pack: "refused" or "loaded". Anything but a `PackError` with a place comes up."""
    try:
        pack = parse({"hostile.toml": text})
    except PackError as error:
        for problem in error.problems:
            assert problem.message, "expected words"
            assert "hostile.toml" in str(problem), str(problem)
        return "refused"
    run_tests(pack, {"hostile.toml": text})
    engine = Engine(pack)
    offset = 0
    for topic, value in examples(pack):
        members = json.loads(value)
        values = [value, b"{}", b"x"]
        values += [json.dumps({**members, name: other}).encode() for name in members for other in VALUES[::5]]
        for raw in values:
            engine.judge(Record(topic, 0, offset, START + offset, b"k", raw))
            offset += 1
    engine.snapshot()
    return "loaded"


def main() -> None:
    """Prove it, and print what was counted."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    watch = CodeWatch()
    attempt(f"{EVENT}[feature.f]\n{PLAIN_FEATURE}[rule.r]\n{PLAIN_RULE}")  # what is done once is done now
    attempt("[[[")
    counts: Counter[str] = Counter()
    problems = []
    slowest, which = 0.0, ""
    for name, text in packs():
        watch.seen.clear()
        since = time.process_time()
        watch.on = True
        try:
            outcome = attempt(text)
        except Exception as error:  # noqa: BLE001  each is what we look for
            outcome = "failed"
            problems.append(f"{name}: {type(error).__name__}: {error!s:.300}\n{text[:300]}")
        watch.on = False
        took = time.process_time() - since
        counts[outcome] += 1
        problems += [f"{name}: {event}\n{text[:300]}" for event in watch.seen]
        if took > slowest:
            slowest, which = took, name
        if took > SLOWEST:
            problems.append(f"{name}: took {took:.2f} s\n{text[:300]}")
    for problem in problems:
        print(f"proofs.hostile_packs: {problem}", file=sys.stderr)
    print(
        f"packs {counts.total():,}, refused {counts['refused']:,}, loaded and harmless {counts['loaded']:,}, "
        f"failed {counts['failed']}, problems {len(problems)}, slowest {slowest:.2f} s ({which})"
    )
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
