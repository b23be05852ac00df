"""What people are told about expressions that cannot be used."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.expressions import Constants, ExpressionError, Language, Symbol
from detection.kinds import Kind

NO_HAS = "known(x) tells whether x is there"
SCOPE = {
    "amount": Symbol(Kind.MONEY, "e.amount"),
    "user": Symbol(Kind.STR, "e.user"),
    "country": Symbol(Kind.STR, "e.country", optional=True),
    "count": Symbol(Kind.INT, "f0"),
    "flag": Symbol(Kind.BOOL, "f1"),
    "at": Symbol(Kind.TIME, "e.at"),
    "gap": Symbol(Kind.DURATION, "f2"),
    "model.payments": Symbol(Kind.FLOAT, "f3"),
    "model.alarm": Symbol(Kind.BOOL, "f4"),
}


@pytest.fixture(scope="module")
def payments() -> Language:
    return Language(SCOPE)


@pytest.mark.parametrize(
    ("text", "offset", "message", "hint"),
    [
        # names
        ("amout > 1", 0, 'unknown name "amout"', 'did you mean "amount"?'),
        ("Amount > 1", 0, 'unknown name "Amount"', 'did you mean "amount"?'),
        ("flag && model.paymnts > 0.5", 8, 'unknown name "model.paymnts"', 'did you mean "model.payments"?'),
        ("flag == True", 8, 'unknown name "True"', 'did you mean "true"?'),
        ("count > zebra", 8, 'unknown name "zebra"', None),
        ("flag + zebra > 1", 7, 'unknown name "zebra"', None),
        ('user == "é\U0001f600" && zebra', 16, 'unknown name "zebra"', None),
        ("flag &&\n  zebra > 1", 10, 'unknown name "zebra"', None),
        ("flag &&\r\n  zebra > 1", 11, 'unknown name "zebra"', None),
        ("user.name == 'x'", 4, "str has no members", None),
        ("if > 1", 0, '"if" is a reserved word', None),
        # kinds
        ("amount > user", 7, 'cannot apply ">" to money and str', "expected money > money or money > int or money > float"),
        ("gap > 10", 4, 'cannot apply ">" to duration and int', "expected duration > duration"),
        ("at > '2026-01-01T00:00:00Z'", 3, 'cannot apply ">" to time and str', "expected time > time"),
        ("flag && count", 5, 'cannot apply "&&" to bool and int', "expected bool && bool"),
        ("flag && !count", 8, 'cannot apply "!" to int', "expected !bool"),
        ("amount * amount", 7, 'cannot apply "*" to money and money', "expected money * int or money * float"),
        ("at + at", 3, 'cannot apply "+" to time and time', "expected time + duration"),
        ("-user", 0, 'cannot apply "-" to str', "expected -int or -money or -duration or -float"),
        ("flag ? 1 : 'a'", 5, 'cannot apply "? :" to bool and int and str', "expected bool ? int : int or bool ? int : float or bool ? int : money"),
        ("count in [1, 'a']", 13, 'cannot apply "in" to int and list of str', "expected int in [int, …] or int in [float, …] or int in [money, …]"),
        ("count in count", 6, 'cannot apply "in" to int and int', "expected int in [int, …]"),
        ("amount == null", 10, "null is not part of the language", NO_HAS),
        ("country == null", 8, 'cannot apply "==" to str and null', "expected str == str"),
        ("int > 1", 4, 'cannot apply ">" to the name of a type and int', "expected str > str or time > time or duration > duration or int > int"),
        ("[1, 2]", 0, "expected a value, got a list", "a list can only stand at the right of in"),
        # functions
        ("user.startWith('a')", 5, 'unknown function "startWith"', 'did you mean "startsWith"?'),
        ("user.startsWith(1)", 15, 'cannot apply "startsWith" to str and int', "expected str.startsWith(str)"),
        ("startsWith(user, 'a')", 0, 'cannot apply "startsWith" to these operands', "expected str.startsWith(str)"),
        ("user.startsWith('a', 'b')", 5, 'cannot apply "startsWith" to these operands', "expected str.startsWith(str)"),
        ("flag && user.matches('(a+)+$')", 13, 'unknown function "matches"', None),
        ("dyn(count) > 1", 0, 'unknown function "dyn"', None),
        ("type(count) == int", 0, 'unknown function "type"', None),
        # literals that are read at load
        ("timestamp(user) > at", 10, "expected a time in quotes, got an expression", None),
        ("timestamp('x') > at", 10, 'timestamp: expected a time such as "2026-01-31T18:30:00Z", got "x"', None),
        ("timestamp('2026-01-01') > at", 10, 'timestamp: expected a time such as "2026-01-31T18:30:00Z", got "2026-01-01"', None),
        ("timestamp('2026-02-30T00:00:00Z') > at", 10, 'timestamp: expected a time such as "2026-01-31T18:30:00Z", got "2026-02-30T00:00:00Z"', None),
        ("gap > duration('10')", 15, 'duration: expected a duration such as "10s", "5m", "24h" or "7d", got "10"', None),
        ("at.getHours('Mars/Base') > 1", 12, 'time zone: expected a name such as "Europe/Berlin", got "Mars/Base"', None),
        ("at.getHours('America') > 1", 12, 'time zone: expected a name such as "Europe/Berlin", got "America"', None),
        ("at.getHours('../../etc/passwd') > 1", 12, 'time zone: expected a name such as "Europe/Berlin", got "../../etc/passwd"', None),
        ("at.getHours(user) > 1", 12, "expected a zone's name in quotes, got an expression", None),
        ("amount + 1e30 > amount", 9, "money: expected a number within 9223372036854.775807, got 1e+30", None),
        ("amount * 1e999 > amount", 9, "money: expected a finite number, got inf", None),
        (r"gap > duration('1\n\u2028')", 15, r'duration: expected a duration such as "10s", "5m", "24h" or "7d", got "1\n\u2028"', None),
        ("count > 9223372036854775808", 8, "invalid int literal", None),
        # what CEL has and this language has not
        ("has(country)", 0, "has() is not part of the language", NO_HAS),
        ("has(event.country)", 0, "has() is not part of the language", NO_HAS),
        ("flag && has(model.alarm)", 11, "has() is not part of the language", NO_HAS),
        ("[1, 2].all(x, x > count)", 7, "all() is not part of the language", None),
        ("flag && ['a'].exists(x, x == user)", 14, "exists() is not part of the language", None),
        ("user.map(x, x)", 5, "map() is not part of the language", None),
        ("{'a': 1}.a > count", 8, "selecting a member is not part of the language", None),
        ("{'a': 1}['a'] > count", 0, "a map or message is not part of the language", None),
        ("google.protobuf.Duration{seconds: 1}", 0, "a map or message is not part of the language", None),
        ("google.protobuf.NullValue.NULL_VALUE > count", 0, 'unknown name "google.protobuf.NullValue.NULL_VALUE"', None),
        ("1u", 0, "an unsigned number is not part of the language", None),
        ("b'x'", 0, "a bytes string is not part of the language", None),
        # syntax
        ("", 0, "expected an expression, got nothing", None),
        (" \n", 0, "expected an expression, got nothing", None),
        ("count >", 7, "unexpected the end", None),
        ("count > 1 )", 10, 'unexpected ")"', None),
        ("user.startsWith('a'", 19, 'expected ")", got the end', None),
        ("count = 1", 6, 'unexpected "="', 'write "==" for "="'),
        ("count <> 1", 7, 'unexpected ">"', 'write "!=" for "<>"'),
        ("flag and flag", 5, 'unexpected "and"', 'write "&&" for "and"'),
        ("flag | flag", 5, 'unexpected "|"', 'write "||" for "|"'),
        ("not flag", 4, 'unexpected "flag"', 'write "!" for "not"'),
        ("user == 'abc", 8, "expected a complete string", "is a quote missing, or an escape wrong?"),
        (r"user == '\q'", 8, "expected a complete string", "is a quote missing, or an escape wrong?"),
        ("user == \u201ca\u201d", 8, 'unexpected "\u201c"', None),
        ("user == '\ud800'", 9, "expected Unicode text, got half a surrogate pair", None),
        ("count + " * 40 + "count", 0, "nested too deeply, or too long a chain", "compute a part of it as a value of its own"),
        ("(" * 1000 + "count" + ")" * 1000, 0, "nested too deeply, or too long a chain", "compute a part of it as a value of its own"),
    ],
)  # fmt: skip
def test_an_error_says_what_where_and_what_may_help(
    payments: Language, text: str, offset: int, message: str, hint: str | None
) -> None:
    with pytest.raises(ExpressionError) as caught:
        payments.compile(text, Constants())

    assert (caught.value.offset, caught.value.message, caught.value.hint) == (offset, message, hint)


def test_an_expression_of_another_kind_than_expected_is_refused(payments: Language) -> None:
    with pytest.raises(ExpressionError, match="expected bool, got money"):
        payments.compile("amount", Constants(), expects=Kind.BOOL)


@pytest.mark.parametrize(
    "text",
    ["\0", "$", "..", "`a`", "count.?x", "a" * 5000, "?:", "count ? : 1", '"\\', "[", "{", "}", "//", "count /* x */", "@", "\u2028"],
)  # fmt: skip
def test_rubbish_is_one_line_of_error_inside_the_text(payments: Language, text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        payments.compile(text, Constants())

    assert 0 <= caught.value.offset <= len(text)
    assert "\n" not in caught.value.message
    assert "<input>" not in caught.value.message


PIECES = re.findall(
    r"\S+",
    """amount user country count flag at gap model.payments model . ( ) [ ] { } , ? : + - * / % ! != == < > && || in
1 2.5 'a' " ' \\ has known size min .trim() .getHours( timestamp( duration('1h') true null 1u b'x' \u00e9 # //""",
)
pieces = st.lists(st.sampled_from([*PIECES, "\n"]), max_size=12)


@given(st.one_of(st.text(), pieces.map(" ".join), pieces.map("".join)))
def test_any_text_either_compiles_or_is_one_error_inside_it(payments: Language, text: str) -> None:
    problem: ExpressionError | None = None
    try:
        compile(payments.compile(text, Constants()).source, "source", "eval")
    except ExpressionError as error:
        problem = error

    assert problem is None or 0 <= problem.offset <= len(text)
    assert "<input>" not in str(problem)
