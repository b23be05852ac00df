"""Packs: every mistake is told at once, with its place and what would mend it."""

from pathlib import Path

import pytest

from detection.errors import PackError, Problem
from detection.kinds import Kind
from detection.loading import load, parse
from detection.loading.files import LARGEST_FILE
from detection.pack import Pack

GOOD = """\
[event.pay]
topic = "pays"
time = "at?"
fields = { user = "str", amount = "money:currency", currency = "str", n = "int?", x = "float" }

[feature.pays_10s]
on = "pay"
key = ["user"]
fn = "count"
window = "10s"

[rule.big]
on = "pay"
when = "amount > 400 && pays_10s > 1"
reason = "{user} spends {amount}"
score = 10
outcome = "block"

[[rule.big.test]]
given = [{ user = "a", amount = 1, currency = "EUR", x = 1.0 }]
fires = [false]
"""
OTHER = """\
[event.click]
topic = "clicks"
fields = { url = "str" }
"""


def problems(*texts: str) -> list[str]:
    """What is wrong with the files, called `a.toml`, `b.toml` and so on."""
    with pytest.raises(PackError) as caught:
        parse({f"{name}.toml": text for name, text in zip("abc", texts, strict=False)})
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return [str(problem) for problem in caught.value.problems]


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


DURATION = 'expected a duration such as "10s", "5m", "24h" or "7d"'
FIELDS = "expected str, int, float, bool or money, with ? if it may be missing"
TOPIC = "expected a Kafka topic name (letters, digits, '.', '_', '-')"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # TOML
        ('topic = "pays"', 'topic = "pays', "2:14: not TOML: illegal character '\\n'"),
        ('topic = "pays"', "topic = ", "2:9: not TOML: invalid value"),
        ('topic = "pays"', 'topic = "pays"\ntopic = "b"', "3:12: not TOML: cannot overwrite a value"),
        ("fires = [false]", "fires = [false", "22:1: not TOML: unclosed array"),
        # shape
        ('topic = "pays"\n', "", "1:2: event.pay.topic: is missing"),
        ('window = "10s"', "window = 10", "10:10: feature.pays_10s.window: expected string, got 10"),
        ('key = ["user"]', 'key = "user"', "8:7: feature.pays_10s.key: expected list, got 'user'"),
        ('key = ["user"]', "key = []", "8:7: feature.pays_10s.key: expected at least one item, got none"),
        ('key = ["user"]', 'key = ["user", 5]', "8:16: feature.pays_10s.key.1: expected string, got 5"),
        ("score = 10", "score = 101", "16:9: rule.big.score: expected less than or equal to 100, got 101"),
        ("score = 10", "score = -1", "16:9: rule.big.score: expected greater than or equal to 0, got -1"),
        ("score = 10", "score = 10.0", "16:9: rule.big.score: expected integer, got 10.0"),
        ("score = 10", "score = true", "16:9: rule.big.score: expected integer, got True"),
        (
            'outcome = "block"',
            'outcome = "blok"',
            "17:11: rule.big.outcome: expected 'allow', 'review' or 'block', got 'blok'",
        ),
        (
            'outcome = "block"',
            'outcome = "block"\nmode = "on"',
            "18:8: rule.big.mode: expected 'off', 'shadow' or 'live', got 'on'",
        ),
        (
            'window = "10s"',
            'window = "10s"\nwindos = "5s"',
            '11:1: feature.pays_10s.windos: no such key (did you mean "window"?)',
        ),
        (
            'topic = "pays"',
            'topic = "pays"\n"x y" = 1',
            "3:1: event.pay.x y: no such key (there are topic, fields, time, derive, busiest, block_topic, review_topic, accept_topic, add)",
        ),
        ("[rule.big]", "[ruel.x]\n\n[rule.big]", '12:2: ruel: no such key (did you mean "rule"?)'),
        ("[rule.big]", "[feature]\nx = 5\n\n[rule.big]", "13:5: feature.x: expected a table, got 5"),
        ("given = [{ user", "given = [5, { user", "20:10: rule.big.test.0.given.0: expected a table, got 5"),
        ("fires = [false]", "fires = [0]", "21:10: rule.big.test.0.fires.0: expected boolean, got 0"),
        (
            'x = "float" }',
            '"x y" = "str" }',
            "4:83: event.pay.fields.x y: expected a name of letters, digits and _, got 'x y'",
        ),
        # events
        ('topic = "pays"', 'topic = "pa ys"', f"2:9: topic: {TOPIC}, got 'pa ys'"),
        ('topic = "pays"', 'topic = ""', f"2:9: topic: {TOPIC}, got ''"),
        ('topic = "pays"', 'topic = ".."', f"2:9: topic: {TOPIC}, got '..'"),
        (
            'topic = "pays"',
            'topic = "${PAYS}"',
            (
                "2:9: topic: no setting PAYS; "
                "there are ${TRANSACTIONS_TOPIC}, ${FRAUD_TOPIC}, ${REVIEW_TOPIC}, ${LEGIT_TOPIC}, ${LABELS_TOPIC}"
            ),
        ),
        (
            'topic = "pays"',
            'topic = "pays"\nblock_topic = "pays"',
            "3:15: event pay: writes to topic pays, which event pay reads",
        ),
        (
            'topic = "pays"',
            'topic = "${FRAUD_TOPIC}"',
            "1:2: event pay: writes to topic queuing.fraud, which event pay reads",
        ),
        ('x = "float"', 'x = "double"', f"4:87: field x: {FIELDS}, got 'double'"),
        ('x = "float"', 'x = "time"', f"4:87: field x: {FIELDS}, got 'time'"),
        (
            '"money:currency"',
            '"money:valuta"',
            "4:35: field amount: its currency 'valuta' is no str field of event pay",
        ),
        ('"money:currency"', '"money:x"', "4:35: field amount: its currency 'x' is no str field of event pay"),
        ('time = "at?"', 'time = "user"', "3:8: event pay: time 'user' is also one of the fields; name it only here"),
        ('time = "at?"', 'time = "a b"', "3:8: event pay: time 'a b' is no member's name"),
        (
            'time = "at?"',
            'add = { reason = "1", user = "2" }',
            (
                "3:9: event pay: add: reason is already a member of the verdict\n"
                "a.toml:3:23: event pay: add: user is already a member of the verdict"
            ),
        ),
        (
            'time = "at?"',
            'add = { z = "amuont" }',
            '3:14: event pay: add z: unknown name "amuont" (did you mean "amount"?)',
        ),
        # features
        ('window = "10s"', 'window = "999ms"', "10:10: feature pays_10s: expected a window of 1s to 90d, got '999ms'"),
        (
            'window = "10s"',
            'window = "10s"\ndelay = "91d"',
            "11:9: feature pays_10s: expected a delay of more than 0 and at most 90d, got '91d'",
        ),
        (
            'window = "10s"',
            'window = "10s"\ndelay = "0s"',
            "11:9: feature pays_10s: expected a delay of more than 0 and at most 90d, got '0s'",
        ),
        (
            'window = "10s"',
            'window = "10s"\nwhere = "amount"',
            "11:10: feature pays_10s: where: expected bool, got money",
        ),
        (
            'window = "10s"',
            'window = "10s"\nwhere = "pays_10s > 1"',
            '11:10: feature pays_10s: where: unknown name "pays_10s"',
        ),
        ('window = "10s"', 'window = "91d"', "10:10: feature pays_10s: expected a window of 1s to 90d, got '91d'"),
        (
            'window = "10s"',
            'window = "90d1us"',
            "10:10: feature pays_10s: expected a window of 1s to 90d, got '90d1us'",
        ),
        ('window = "10s"', 'window = "10"', f'10:10: feature pays_10s: window: {DURATION}, got "10"'),
        ('fn = "count"', 'fn = "conut"', "9:6: feature pays_10s: no aggregate 'conut' (did you mean \"count\"?)"),
        (
            'fn = "count"',
            'fn = "quux"',
            (
                "9:6: feature pays_10s: no aggregate 'quux' (there are count, sum, avg, min, max, stddev, distinct, "
                "mode_share, entropy, fraud_rate, speed_kmh, previous, first_seen_age, gap, gap_stddev)"
            ),
        ),
        (
            'fn = "count"',
            'fn = "speed_kmh"\nof = "x"',
            "10:6: feature pays_10s: speed_kmh needs two fields: of = [latitude, longitude], got 'x'",
        ),
        (
            'fn = "count"',
            'fn = "speed_kmh"',
            "6:2: feature pays_10s: speed_kmh needs two fields: of = [latitude, longitude]",
        ),
        (
            'fn = "count"',
            'fn = "speed_kmh"\nof = ["x", "n"]',
            "10:12: feature pays_10s: speed_kmh takes float, but n is int",
        ),
        ('fn = "count"', 'fn = "sum"\nof = ["n"]', "10:6: feature pays_10s: sum needs a field: of = …, got ['n']"),
        ('fn = "count"', 'fn = "sum"\nof = 5', "10:6: feature.pays_10s.of: expected string, got 5"),
        (
            'fn = "count"',
            'fn = "sum"\nof = ["n", "a b"]',
            "10:12: feature.pays_10s.of.1: expected a name of letters, digits and _, got 'a b'",
        ),
        (
            'window = "10s"',
            'window = "10s"\nsession = "10s"',
            "11:11: feature pays_10s: expected a silence of more than 0 and less than the window, got '10s'",
        ),
        (
            'topic = "pays"',
            'topic = "pays"\nbusiest = { usr = 5 }',
            "3:13: event pay: busiest: no field 'usr' (did you mean \"user\"?)",
        ),
        (
            'topic = "pays"',
            'topic = "pays"\nbusiest = { user = 0 }',
            "3:20: event.pay.busiest.user: expected greater than or equal to 1, got 0",
        ),
        (
            'window = "10s"',
            'window = "10s"\nresolution = "11s"',
            "11:14: feature pays_10s: expected a resolution of at least 1s and at most the window, got '11s'",
        ),
        (
            'window = "10s"',
            'window = "10s"\nresolution = "999ms"',
            "11:14: feature pays_10s: expected a resolution of at least 1s and at most the window, got '999ms'",
        ),
        (
            'window = "10s"',
            'window = "10s"\nsession = "5s"\nresolution = "5s"',
            "12:14: feature pays_10s: a session needs each event, so it takes no resolution",
        ),
        (
            'fn = "count"\nwindow = "10s"',
            'fn = "gap"\nwindow = "10s"\nresolution = "5s"',
            "11:14: feature pays_10s: gap needs each event, so it takes no resolution",
        ),
        (
            'window = "10s"',
            'window = "10s"\nsession = "5"',
            '11:11: feature pays_10s: session: expected a duration such as "10s", "5m", "24h" or "7d", got "5"',
        ),
        ('key = ["user"]', 'key = ["usr"]', "8:8: feature pays_10s: no field 'usr' (did you mean \"user\"?)"),
        (
            'key = ["user"]',
            'key = ["user", "at"]',
            "8:16: feature pays_10s: no field 'at' (there are user, amount, currency, n, x)",
        ),
        ('on = "pay"\nkey', 'on = "pya"\nkey', "7:6: feature pays_10s: no event 'pya' (did you mean \"pay\"?)"),
        ('fn = "count"', 'fn = "count"\nof = "n"', "10:6: feature pays_10s: count takes no field, got of = 'n'"),
        ('fn = "count"', 'fn = "sum"', "6:2: feature pays_10s: sum needs a field: of = …"),
        (
            'fn = "count"',
            'fn = "sum"\nof = "m"',
            "10:6: feature pays_10s: no field 'm' (there are user, amount, currency, n, x)",
        ),
        (
            'fn = "count"',
            'fn = "sum"\nof = "user"',
            "10:6: feature pays_10s: sum takes float, int, money, but user is str",
        ),
        (
            "[rule.big]",
            '[feature.n]\non = "pay"\nkey = ["user"]\nfn = "count"\nwindow = "1s"\n\n[rule.big]',
            "12:2: feature n: event pay has a field of that name",
        ),
        # rules
        ('on = "pay"\nwhen', 'on = "pey"\nwhen', "13:6: rule big: no event 'pey' (did you mean \"pay\"?)"),
        ("amount > 400", "amuont > 400", '14:9: rule big: unknown name "amuont" (did you mean "amount"?)'),
        ("pays_10s > 1", "pays_10s > 'x'", None),
        ('"amount > 400 && pays_10s > 1"', '"pays_10s + 1"', "14:9: rule big: expected bool, got int"),
        ('"amount > 400 && pays_10s > 1"', '""', "14:9: rule big: expected an expression, got nothing"),
        ("{user}", "{usr}", "15:10: rule big: reason: no field or feature 'usr' (did you mean \"user\"?)"),
        (
            "{user}",
            "{}",
            "15:10: rule big: reason: no field or feature '' (there are user, amount, currency, n, x, pays_10s, at)",
        ),
        ("{user}", "{user!r}", "15:10: rule big: reason: expected a name alone in braces, got {user!r}"),
        ("{user}", "{amount:.2f}", "15:10: rule big: reason: expected a name alone in braces, got {amount:.2f}"),
        ("{user}", "{user.name}", "15:10: rule big: reason: no field or feature 'user.name' (did you mean \"user\"?)"),
        (
            "{user}",
            "{",
            "15:10: rule big: reason: unexpected '{' in field name; write {{ and }} for braces",
        ),
        ("{user}", "}", "15:10: rule big: reason: single '}' encountered in format string; write {{ and }} for braces"),
        (
            "fires = [false]",
            "fires = [false, true]",
            "21:9: rule big: fires: expected as many answers as events (1), got 2",
        ),
        (
            'key = ["user"]',
            'key = ["user", "n", "user"]',
            "8:21: feature pays_10s: key names user twice",
        ),
        (
            'topic = "pays"',
            'topic = "fraud.dead-letters"',
            "1:2: event pay: fraud.dead-letters is the topic for dead letters, no other records go there",
        ),
        (
            'topic = "pays"',
            'topic = "pays"\nblock_topic = "${DEAD_LETTER_TOPIC}"',
            "1:2: event pay: fraud.dead-letters is the topic for dead letters, no other records go there",
        ),
        ('time = "at?"', 'time = "²"', "3:8: event pay: time '²' is no member's name"),
        ('time = "at?"', 'time = "ﬁ?"', "3:8: event pay: time 'ﬁ?' is no member's name"),
        (
            'time = "at?"',
            'time = "at?"\nadd = { at = "1" }',
            "4:9: event pay: add: at is already a member of the verdict",
        ),
        # the whole
        ("[event.pay]", 'lateness = "soon"\n[event.pay]', f'1:12: lateness: {DURATION}, got "soon"'),
    ],
)
def test_a_mistake_is_told_with_its_place(old: str, new: str, expected: str | None) -> None:
    found = problems(changed(old, new))

    if expected is None:  # the words are those of the expressions; here, that there is one problem, in its place
        assert len(found) == 1
        assert found[0].startswith("a.toml:14:")
    else:
        assert found == f"a.toml:{expected}".split("\n")


@pytest.mark.parametrize(
    ("fields", "time", "expected"),
    [
        ('a = "str @"', "at", f"5:16: field a: {FIELDS}, got 'str @'"),
        ('a = "str@b"', "at", f"5:16: field a: {FIELDS}, got 'str@b'"),
        ('a = "str @ b..c"', "at", f"5:16: field a: {FIELDS}, got 'str @ b..c'"),
        ('a = "str @ #b"', "at", f"5:16: field a: {FIELDS}, got 'str @ #b'"),
        ('a = "str @ b", b = "str"', "at", "5:31: event e: b reads b, as a does"),
        ('a = "str @ b.c", b = "str"', "at", "5:16: event e: a reads b.c, but b reads b as no object"),
        ('a = "str", b = "str @ m.at"', "at @ m.at", "4:8: event e: at reads m.at, as b does"),
        ('a = "str"', "at @ a.b", "4:8: event e: at reads a.b, but a reads a as no object"),
        ('a = "str"', "a-t", "4:8: event e: time 'a-t' is no member's name"),
    ],
)
def test_members_are_read_once_and_paths_are_dotted_names(fields: str, time: str, expected: str) -> None:
    assert problems(f'# x\n[event.e]\ntopic = "t"\ntime = "{time}"\nfields = {{ {fields} }}\n') == [
        f"a.toml:{expected}"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("list.l = {}", "1:1: list l: expected members, file or topic, got none of them"),
        ('list.l = { members = ["a"], topic = "t" }', "1:1: list l: expected members, file or topic, got members and topic"),
        ("list.l = { members = [1] }", "1:22: list l: members: member: expected str, got 1"),
        ('list.l = { members = ["a"], of = "int" }', "1:22: list l: members: member: expected int, got 'a'"),
        ('list.l = { members = "a" }', "1:22: list.l.members: expected list, got 'a'"),
        ("list.l = { members = { a = 1 } }", "1:22: list l: members: expected a list of members, which have no values"),
        ('list.l = { members = ["a"], value = "int" }', "1:22: list l: members: expected a table, member = value"),
        ('list.l = { members = { a = "b" }, value = "int" }', "1:22: list l: members: value: expected int, got 'b'"),
        ('list.l = { members = { a = 1 }, value = "money" }', "1:41: list.l.value: expected 'str', 'int', 'float' or 'bool', got 'money'"),
        ('list.l = { members = ["a"], path = "x" }', "1:36: list l: path is for an .mmdb file"),
        ('list.l = { topic = "a b" }', f"1:20: topic: {TOPIC}, got 'a b'"),
        ('list.l = { topic = "t" }\nlist.m = { topic = "t" }', "2:20: list m: topic t is that of list l already"),
        ('list.l = { topic = "pays" }', "2:2: event pay: pays is the topic of list l, no other records go there"),
        ('list.l = { topic = "queuing.fraud" }', "2:2: event pay: queuing.fraud is the topic of list l, no other records go there"),
        ('list.user = { members = ["a"] }', "1:1: list user: event pay has a field of that name"),
        ('list.at = { members = ["a"] }', "1:1: list at: event pay has a field of that name"),
        ('list.pays_10s = { members = ["a"] }', "1:1: list pays_10s: there is a feature of that name"),
        ('list.l = { member = ["a"] }', '1:12: list.l.member: no such key (did you mean "members"?)'),
    ],
)  # fmt: skip
def test_a_mistake_in_a_list_is_told_with_its_place(text: str, expected: str) -> None:
    assert problems(f"{text}\n{GOOD}") == [f"a.toml:{expected}"]


MODEL = """\
[model.payments]
on = "pay"
features = ["amount", "pays_10s", "n"]
file = "payments.model"
"""
NO_NAME = "no field or feature"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('on = "pay"\nfeatures', 'on = "pey"\nfeatures', "23:6: model payments: no event 'pey' (did you mean \"pay\"?)"),
        ('"n"]', '"amuont"]', f"24:35: model payments: {NO_NAME} 'amuont' (did you mean \"amount\"?)"),
        ('"n"]', '"at"]', f"24:35: model payments: {NO_NAME} 'at' (there are user, amount, currency, n, x, pays_10s)"),
        ('"n"]', '"amount"]', "24:35: model payments: features names amount twice"),
        ('"n"]', '"user"]', "24:35: model payments: user: expected int, float, bool, money or duration, got str"),
        ('["amount", "pays_10s", "n"]', "[]", "24:12: model.payments.features: expected at least one item, got none"),
        ('file = "payments.model"\n', "", "22:2: model.payments.file: is missing"),
        ("payments.model", "payments.pkl", "25:8: model payments: file: expected a .model, got 'payments.pkl'"),
        ('n"]\n', 'n"]\nfiles = 1\n', '25:1: model.payments.files: no such key (did you mean "file"?)'),
        ("[model.payments]", "[model.pay-ments]", "22:2: model.pay-ments: expected a name of letters, digits and _, got 'pay-ments'"),
        ("[event.pay]", 'pii = ["n"]\n[event.pay]', "25:35: model payments: n is personal (pii)"),
        ("amount > 400", "model.paymnts > 0.4", '14:9: rule big: unknown name "model.paymnts" (did you mean "model.payments"?)'),
        ("amount > 400", "payments > 0.4", '14:9: rule big: unknown name "payments" (did you mean "model.payments"?)'),
        ("amount > 400", "model > 0.4", '14:9: rule big: unknown name "model"'),
        ("amount > 400", "model.payments > 1.0", "14:8: rule big: can never fire (model.payments is 0 to 1, pays_10s is at least 1)"),
        ("{amount}", "{model.paymnts}", f"15:10: rule big: reason: {NO_NAME} 'model.paymnts' (did you mean \"model.payments\"?)"),
        ("{amount}", "{model.payments.tip}", f"15:10: rule big: reason: {NO_NAME} 'model.payments.tip' (did you mean \"model.payments\"?)"),
        ("{amount}", "{amount.top}", f"15:10: rule big: reason: {NO_NAME} 'amount.top' (did you mean \"amount\"?)"),
        ("fires = [false]", "fires = [false]\nmodels = { paymnts = 0.5 }", "22:22: rule big: no model 'paymnts' (did you mean \"payments\"?)"),
        ("fires = [false]", "fires = [false]\nmodels = { payments = 1.5 }", "22:23: rule.big.test.0.models.payments: expected less than or equal to 1, got 1.5"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_model_is_told_with_its_place(old: str, new: str, expected: str) -> None:
    text = GOOD + MODEL
    assert text.count(old) == 1, old
    assert problems(text.replace(old, new)) == [f"a.toml:{expected}"]


DERIVED = MODEL.replace('"n"]', '"n", "twice"]') + 'derive.twice = "amount * 2"\n'
TWICE = "model payments: derive twice"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("amount * 2", "amuont * 2", f'26:17: {TWICE}: unknown name "amuont" (did you mean "amount"?)'),
        ("amount * 2", "user", "24:40: model payments: twice: expected int, float, bool, money or duration, got str"),
        ("derive.twice", "derive.thrice", "26:1: model payments: derive: thrice is none of its features"),
        (', "twice"]', "]", "26:1: model payments: derive: twice is none of its features"),
        ('"n", "twice"]\nfile', '"n", "pays_10s"]\nfile', "24:40: model payments: features names pays_10s twice"),
        ("derive.twice", "derive.amount", "26:1: model payments: derive: amount is already a field or feature"),
        ("[event.pay]", 'pii = ["n"]\n[event.pay]', "25:35: model payments: n is personal (pii)"),
        ("amount * 2", "n * 2", "27:16: model payments: n is personal (pii)"),
    ],
)  # fmt: skip
def test_a_mistake_in_what_a_model_derives_is_told_with_its_place(old: str, new: str, expected: str) -> None:
    text = GOOD + DERIVED
    assert text.count(old) == 1, old
    told = problems(("pii = ['n']\n" if new == "n * 2" else "") + text.replace(old, new))
    assert f"a.toml:{expected}" in told


def test_a_field_may_be_called_as_models_are() -> None:
    text = changed("amount > 400", "model.payments > 0.4 && model == 'M'").replace(
        'user = "str"', 'user = "str", model = "str"'
    )

    (rule,) = parse({"a.toml": text.replace("{amount}", "{model}") + MODEL}).events[0].rules

    assert rule.reads == ("model.payments", "model", "pays_10s", "user")


def test_a_feature_that_only_a_model_looks_at_is_read() -> None:
    pack = parse({"a.toml": changed(" && pays_10s > 1", "") + MODEL})

    assert [warning.message for warning in pack.warnings] == [
        "model payments: file payments.model is not there: its score is unknown until it is"
    ]


LOOKS = """\
[event.a]
topic = "a"
fields = { user = "str", n = "int", lat = "float", lon = "float" }
[event.b]
topic = "b"
fields = { user = "str", name = "str", m = "int", flag = "bool" }
[feature.f]
on = "a"
key = ["user"]
fn = "count"
window = "1h"
"""


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('over = "c"', "12:8: feature f: no event 'c'"),
        ('over = "a"', "12:8: feature f: over its own events by its own key: leave over away"),
        ('over_key = ["user"]', "12:12: feature f: over its own events by its own key: leave over_key away"),
        ('over = "b"\nover_key = ["nam"]', "13:12: feature f: event b has no field 'nam'"),
        ('over = "b"\nover_key = ["m"]', "13:12: feature f: user is str, but m of event b is int"),
        ('over = "b"\nover_key = ["user", "name"]', "13:12: feature f: over_key: expected as many fields as in key (1), got 2"),
        ('over = "b"\nof = "n"', "13:6: feature f: count takes no field, got of = 'n'"),
        ('over = "b"\nwhere = "n > 1"', '13:10: feature f: where: unknown name "n"'),
    ],
)  # fmt: skip
def test_a_mistake_in_what_a_feature_looks_at_is_told_with_its_place(more: str, expected: str) -> None:
    (told,) = problems(f"{LOOKS}{more}\n")

    assert told.startswith(f"a.toml:{expected}")


def test_speeds_cannot_be_looked_at() -> None:
    text = LOOKS.replace('"count"', '"speed_kmh"') + 'over_key = ["n"]\nof = ["lat", "lon"]\n'

    assert "a.toml:12:12: feature f: speed_kmh cannot look at other events" in problems(text)


def test_an_allowing_rule_adds_no_score() -> None:
    assert problems(changed('outcome = "block"', 'outcome = "allow"')) == [
        "a.toml:16:9: rule big: expected score 0, for it allows, got 10"
    ]


def test_a_test_knows_no_list_that_there_is_not() -> None:
    told = problems(GOOD + "lists = { nobody = [] }\n")

    assert told == ["a.toml:22:20: rule big: no list 'nobody'"]


def test_a_list_that_nobody_reads_is_a_warning() -> None:
    pack = parse({"a.toml": 'list.l = { members = ["a"] }\n' + GOOD})

    assert [str(warning) for warning in pack.warnings] == ["a.toml:1:1: list l: nobody reads it"]


def test_a_feature_counts_no_lists() -> None:
    told = problems('list.l = { members = ["a"] }\n' + changed('fn = "count"', 'fn = "count"\nwhere = "user in l"'))

    assert told == ['a.toml:11:18: feature pays_10s: where: unknown name "l"']


@pytest.mark.parametrize(
    ("when", "line", "column"),
    [
        ('"usr == user"', 14, 9),
        ('"user == usr"', 14, 17),
        ("'user == usr'", 14, 17),
        ('"""user == usr"""', 14, 19),
        ('"""\nuser ==\n  usr"""', 16, 3),
        ("'''\n\n  user == usr'''", 16, 11),
        ('"""user ==\nusr"""', 15, 1),
        ("'user == \"ä😀\" || usr'", 14, 25),
        ('"user == \\"a\\" || usr"', 14, 8),  # with escapes, places inside do not show outside
        ('"""\nuser == \\\n  usr"""', 14, 8),
    ],
)
def test_an_error_in_an_expression_points_into_its_string(when: str, line: int, column: int) -> None:
    text = changed('"amount > 400 && pays_10s > 1"', when)

    assert problems(text) == [f'a.toml:{line}:{column}: rule big: unknown name "usr" (did you mean "user"?)']


def test_all_problems_are_told_at_once_in_the_order_of_their_places() -> None:
    text = GOOD.replace('"float"', '"flaot"').replace('"10s"', '"10"').replace('"count"', '"cont"')
    text = text.replace("{user}", "{usr}").replace("fires = [false]", "fires = []")
    text += '[rule.second]\non = "pay"\nwhen = "curency == 1"\nreason = "{"\nscore = 1\noutcome = "block"\n'

    assert [problem.split(": ", 1)[0] for problem in problems(text, OTHER.replace("str", "string"), "x = ")] == [
        *(f"a.toml:{place}" for place in ("4:87", "9:6", "10:10", "15:10", "21:9", "24:9", "25:10")),
        "b.toml:3:18",
        "c.toml:1:5",
    ]


def test_one_mistake_is_told_once_though_much_follows_from_it() -> None:
    second = '[rule.more]\non = "pay"\nwhen = "pays_10s > 5"\nreason = "{pays_10s}"\nscore = 1\noutcome = "block"\n'

    assert len(problems(changed('window = "10s"', 'window = "10"') + second)) == 1
    assert len(problems(changed('user = "str"', 'user = "string"'))) == 1
    assert len(problems(changed("[event.pay]", 'lateness = "x"\n[event.pay]') + OTHER)) == 1


# --- several files -----------------------------------------------------------------------------------------------


def test_a_name_declared_twice_is_told_with_its_first_place() -> None:
    assert problems(GOOD, "# again\n" + GOOD) == [
        "b.toml:2:2: event pay: declared twice, first at a.toml:1",
        "b.toml:7:2: feature pays_10s: declared twice, first at a.toml:6",
        "b.toml:13:2: rule big: declared twice, first at a.toml:12",
    ]


def test_two_events_on_one_topic_are_refused() -> None:
    assert problems(GOOD, OTHER.replace("clicks", "pays")) == [
        "b.toml:2:9: event click: topic pays is already read by event pay"
    ]
    with pytest.raises(PackError, match=r"b\.toml:2:9: event click: topic pays is already read"):
        parse({"a.toml": GOOD, "b.toml": OTHER.replace("clicks", "${LEGIT_TOPIC}")}, {"LEGIT_TOPIC": "pays"})


def test_a_topic_that_another_event_reads_is_no_output() -> None:
    text = OTHER.replace("[event.click]", '[event.click]\naccept_topic = "pays"')

    assert problems(GOOD, text) == ["b.toml:2:16: event click: writes to topic pays, which event pay reads"]


def test_a_pack_may_add_features_and_rules_to_anothers_events() -> None:
    added = '[feature.spent]\non = "pay"\nkey = ["user", "currency"]\nfn = "sum"\nof = "amount"\nwindow = "1h"\n'
    added += '[rule.spender]\non = "pay"\nwhen = "spent > 1000"\nreason = ""\nscore = 1\noutcome = "review"\n'

    (event,) = parse({"a.toml": GOOD, "b.toml": added}).events

    assert [feature.name for feature in event.features] == ["pays_10s", "spent"]
    assert [rule.name for rule in event.rules] == ["big", "spender"]


def test_each_file_has_its_own_lateness() -> None:
    first, second = parse({"a.toml": GOOD, "b.toml": 'lateness = "1m"\n' + OTHER}).events

    assert (first.lateness, second.lateness) == (3_600_000_000, 60_000_000)


def test_files_that_cannot_be_read_are_told_all_together(tmp_path: Path) -> None:
    missing, latin = tmp_path / "missing.toml", tmp_path / "latin.toml"
    latin.write_bytes(b"# \xe4")

    with pytest.raises(PackError) as caught:
        load([missing, latin])

    assert [(problem.file, problem.line) for problem in caught.value.problems] == [(str(latin), 0), (str(missing), 0)]
    assert str(caught.value.problems[1]) == f"{missing}: pack: cannot be read: No such file or directory"


def test_a_pack_is_loaded_with_those_it_extends_each_once_and_first(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(GOOD)
    (tmp_path / "more").mkdir()
    for name in ("left", "right"):  # both build on the base, and on each other
        other = {"left": "right", "right": "left"}[name]
        rule = f'[rule.{name}]\non = "pay"\nwhen = "pays_10s > 9"\nreason = ""\nscore = 1\noutcome = "review"\n'
        (tmp_path / "more" / f"{name}.toml").write_text(f'extends = ["../base.toml", "{other}.toml"]\n{rule}')

    found = load([tmp_path / "more" / "left.toml", tmp_path / "more" / ".." / "base.toml"])

    assert [rule.name for rule in found.events[0].rules] == ["big", "right", "left"]
    assert found.hash == load([tmp_path / "base.toml", tmp_path / "more" / "left.toml"]).hash


@pytest.mark.parametrize(
    ("extends", "told"),
    [
        ('["nowhere.toml"]', "a.toml:1:12: extends: {folder}/nowhere.toml: cannot be read: No such file or directory"),
        ('"base.toml"', "a.toml:1:11: extends: expected list, got 'base.toml'"),
        ("[5]", "a.toml:1:12: extends.0: expected string, got 5"),
    ],
)
def test_what_cannot_be_extended_is_told_where_it_is_named(tmp_path: Path, extends: str, told: str) -> None:
    (tmp_path / "a.toml").write_text(f"extends = {extends}\n{GOOD}")

    with pytest.raises(PackError) as caught:
        load([tmp_path / "a.toml"])

    assert str(caught.value) == f"{tmp_path}/{told.format(folder=tmp_path)}"


@pytest.mark.parametrize("text", ["", "# nothing\n", 'lateness = "1h"'])
def test_a_pack_without_an_event_is_refused(text: str) -> None:
    assert problems(text) == ["a.toml: pack: declares no event"]


def test_a_file_with_windows_line_ends_is_read_with_the_same_places(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(changed('"amount > 400 && pays_10s > 1"', "'''\nuser ==\nusr'''").replace("\n", "\r\n").encode())

    with pytest.raises(PackError, match=':16:1: rule big: unknown name "usr"'):
        load([file])


# --- what a good pack means --------------------------------------------------------------------------------------


def pack(text: str = GOOD) -> Pack:
    return parse({"a.toml": text})


def test_topics_come_from_the_pack_the_settings_and_the_defaults_in_this_order() -> None:
    text = GOOD.replace("[event.pay]", '[event.pay]\nreview_topic = "mine"\n').replace(
        '"pays"', '"${TRANSACTIONS_TOPIC}"'
    )

    assert pack(text).topics_in == ("queuing.transactions",)
    loaded = parse({"a.toml": text}, {"TRANSACTIONS_TOPIC": "in", "FRAUD_TOPIC": "bad", "REVIEW_TOPIC": "look"})
    assert loaded.topics_in == ("in",)
    assert loaded.events[0].topics == {"accept": "queuing.legit", "review": "mine", "block": "bad"}
    assert loaded.topics_out == ("queuing.legit", "mine", "bad")


def test_fields_and_features_know_whether_they_may_be_unknown() -> None:
    text = GOOD + '[feature.by_n]\non = "pay"\nkey = ["user", "n"]\nfn = "count"\nwindow = "24h"\n'
    text += '[feature.before]\non = "pay"\nkey = ["user"]\nfn = "previous"\nof = "x"\nwindow = "1s"\n'
    (event,) = pack(text).events

    assert [field.name for field in event.fields] == ["user", "amount", "currency", "x", "n"]
    assert {name: (symbol.kind, symbol.optional) for name, symbol in event.symbols.items()} == {
        "user": (Kind.STR, False),
        "amount": (Kind.MONEY, False),
        "currency": (Kind.STR, False),
        "n": (Kind.INT, True),
        "x": (Kind.FLOAT, False),
        "pays_10s": (Kind.INT, False),
        "by_n": (Kind.INT, True),
        "before": (Kind.FLOAT, True),
        "at": (Kind.TIME, False),
    }
    assert (event.time, event.time_optional) == ("at", True)


SUM = '[feature.spent]\non = "pay"\nkey = ["user"]\nfn = "sum"\nof = "amount"\nwindow = "1h"\n'


def test_adding_up_different_currencies_is_a_warning() -> None:
    text = GOOD.replace("{amount}", "{amount} {spent}")
    assert [str(warning) for warning in pack(text + SUM).warnings] == [
        "a.toml:26:6: feature spent: adds amounts of different currencies: put currency into its key"
    ]
    assert pack(text + SUM.replace('"user"', '"user", "currency"')).warnings == ()
    assert pack(text.replace("money:currency", "money") + SUM).warnings == ()


@pytest.mark.parametrize("when", ["true", "1 > 0", "'a' in ['a']"])
def test_a_condition_that_reads_nothing_is_a_warning(when: str) -> None:
    text = changed("amount > 400 && pays_10s > 1", when.replace("'", '\\"')).replace("{user}", "{pays_10s}")

    assert [str(warning) for warning in pack(text).warnings] == [
        "a.toml:14:8: rule big: its condition reads nothing, so it is always the same"
    ]


def test_a_feature_that_nobody_reads_is_a_warning() -> None:
    unread = "a.toml:22:2: feature spent: nobody reads it"

    assert [str(warning) for warning in pack(GOOD + SUM.replace('"user"', '"user", "currency"')).warnings] == [unread]
    for reader in ('when = "spent > 1"\nreason = ""\nmode = "off"', 'when = "x > 1.0"\nreason = "{spent}"'):
        rule = f'[rule.reader]\non = "pay"\n{reader}\nscore = 1\noutcome = "review"\n'
        assert unread not in [str(warning) for warning in pack(GOOD + SUM + rule).warnings]
    added = GOOD.replace("[feature", "add = { total = 'spent' }\n[feature")
    assert "nobody" not in str(pack(added + SUM).warnings)


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("pays_10s < 1", "can never fire (pays_10s is at least 1)"),
        ("amount > 5 && amount < 4.99", "can never fire"),
        ("amount > 5 && pays_10s == 0", "can never fire (pays_10s is at least 1)"),
        ("pause > duration('10s')", "can never fire (pause is 0 s to 10 s)"),
        ("false", "can never fire"),
        ("n / 0 > 1", "division by a constant zero"),
        ("x / 0.0 > 1.0", "division by a constant zero"),
        ("amount / (-0) > 1.0", "division by a constant zero"),
        ("n % 0 == 1", "division by a constant zero"),
    ],
)
def test_a_rule_that_can_never_fire_and_a_division_by_zero_are_refused(when: str, told: str) -> None:
    pause = '[feature.pause]\non = "pay"\nkey = ["user"]\nfn = "gap"\nwindow = "10s"\n'

    (problem,) = problems(changed("amount > 400 && pays_10s > 1", when) + pause)

    assert problem.startswith("a.toml:14:")
    assert problem.endswith(f": rule big: {told}")


@pytest.mark.parametrize("moved", ['where = "x > 0.0"', 'delay = "1s"'])
def test_a_count_of_what_came_before_may_be_nothing(moved: str) -> None:
    text = changed("amount > 400 && pays_10s > 1", "pays_10s == 0").replace(
        'window = "10s"', f'window = "10s"\n{moved}'
    )

    assert pack(text).warnings == ()


@pytest.mark.parametrize(
    "name", ["in", "true", "class", "for", "e", "size", "duration", "_", "__init__", "f_user", "raw"]
)
def test_any_name_of_letters_digits_and_underscores_may_be_a_field(name: str) -> None:
    (event,) = pack(GOOD.replace('x = "float"', f'{name} = "float"').replace("{user}", f"{{{name}}}")).events

    assert name in event.symbols


# --- identity ----------------------------------------------------------------------------------------------------


def identity(text: str) -> tuple[str, str]:
    loaded = pack(text)
    return loaded.hash, loaded.events[0].rules[0].version


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fires = [false]", "fires = [true]"),
        ("amount = 1,", "amount = 2,"),
        ("score = 10", "score   =   10  # ten"),
        ('fn = "count"\nwindow = "10s"', 'window = "10s"\nfn = "count"'),
        ("[rule.big]", "\n\n[rule.big]"),
        ('outcome = "block"', 'outcome = "block"\nmode = "live"'),
        ("[event.pay]", 'lateness = "1h"\n[event.pay]'),
    ],
)
def test_neither_tests_nor_formatting_make_another_pack(old: str, new: str) -> None:
    assert identity(changed(old, new)) == identity(GOOD)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("amount > 400", "amount > 401"),
        ("score = 10", "score = 11"),
        ("spends", "spent"),
        ('outcome = "block"', 'outcome = "review"'),
        ('outcome = "block"', 'outcome = "block"\nmode = "shadow"'),
    ],
)
def test_another_rule_is_another_pack_and_another_version(old: str, new: str) -> None:
    (hash_before, version_before), (hash_after, version_after) = identity(GOOD), identity(changed(old, new))

    assert hash_after != hash_before
    assert version_after != version_before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('window = "10s"', 'window = "11s"'),
        ('time = "at?"', 'time = "at"'),
        ("[event.pay]", 'lateness = "2h"\n[event.pay]'),
        ('time = "at?"', 'add = { z = "score" }'),
        (
            "[rule.big]",
            '[rule.first]\non = "pay"\nwhen = "x > 1.0"\nreason = ""\nscore = 1\noutcome = "block"\nmode = "off"\n[rule.big]',
        ),
    ],
)
def test_what_else_may_change_a_verdict_is_another_pack_of_the_same_rule(old: str, new: str) -> None:
    (hash_before, version_before), (hash_after, version_after) = identity(GOOD), identity(changed(old, new))

    assert hash_after != hash_before
    assert version_after == version_before


def test_the_order_of_rules_is_told_by_verdicts_so_it_is_part_of_the_pack() -> None:
    second = '[rule.more]\non = "pay"\nwhen = "x > 5.0"\nreason = ""\nscore = 1\noutcome = "block"\n'

    assert pack(GOOD + second).hash != pack(second + GOOD).hash


def test_the_order_of_files_is_no_part_of_the_pack() -> None:
    assert parse({"a.toml": GOOD, "b.toml": OTHER}).hash == parse({"b.toml": OTHER, "a.toml": GOOD}).hash


def test_a_problem_says_where_what_and_what_would_help() -> None:
    assert str(Problem("p.toml", 3, 5, "x: expected 1, got 2", 'did you mean "y"?')) == (
        'p.toml:3:5: x: expected 1, got 2 (did you mean "y"?)'
    )
    assert str(Problem("p.toml", 0, 0, "no such file")) == "p.toml: no such file"


@pytest.mark.parametrize("text", [f"lateness = {'1' * 5_000}", f"lateness = {'[' * 3_000}{']' * 3_000}"])
def test_a_text_that_the_parser_gives_up_on_is_a_problem_and_no_traceback(text: str) -> None:
    assert problems(text) == ["a.toml: not TOML: a number is too long, or arrays are nested too deeply"]


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(GOOD, "utf-8-sig")

    assert load([file]).hash == parse({"a.toml": GOOD}).hash


def test_a_field_that_no_rule_can_read_is_a_warning() -> None:
    assert [str(warning) for warning in pack(changed('n = "int?"', 'for = "int?"')).warnings] == [
        "a.toml:4:71: field for: a reserved word of expressions, so no rule can read it"
    ]


def test_reading_a_member_that_the_verdict_hides_is_a_warning() -> None:
    text = GOOD.replace('n = "int?"', 'score = "int?"').replace(
        'time = "at?"', """time = "at?"\nadd = { y = 'fraudulent ? "Y" : "N"', z = "score + 1" }"""
    )

    assert [str(warning) for warning in pack(text).warnings] == [
        "a.toml:4:43: event pay: add z: score is the verdict's here, not the event's own"
    ]


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(PackError, match=r"^/dev/zero: pack: expected at most 1,000,000 characters, got more$"):
        load([Path("/dev/zero")])


def test_a_pack_may_be_a_million_characters_long_and_no_more() -> None:
    text = '[event.x]\ntopic = "x"\nfields = {}\n#'
    longest = text + "x" * (LARGEST_FILE - len(text))

    assert parse({"x.toml": longest}).events
    with pytest.raises(PackError, match="expected at most 1,000,000 characters"):
        parse({"x.toml": longest + "x"})


@pytest.mark.parametrize("name", ["a", '"a"', "'a b'", "a-_9"])
def test_a_key_of_more_names_than_anybody_needs_is_refused_before_it_is_read(name: str) -> None:
    with pytest.raises(PackError) as caught:
        parse({"x.toml": f"\n[{' . '.join([name] * 20_000)}]"})

    assert str(caught.value) == "x.toml:2:1: not TOML: expected at most 32 names in a key"


def test_a_key_of_as_many_names_as_are_taken_is_read() -> None:
    with pytest.raises(PackError, match="a: no such key"):
        parse({"x.toml": ".".join(["a"] * 32) + " = 1"})
