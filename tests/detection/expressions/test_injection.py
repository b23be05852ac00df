"""No text of a user becomes source."""

import ast
from types import SimpleNamespace
from typing import Any

import pytest

from detection.expressions import Constants, ExpressionError, Language, Symbol
from detection.expressions.compiler import _prove_compilable
from detection.kinds import Kind

NASTY = [
    "'",
    '"',
    '"""',
    "\\",
    "\n",
    "\r\n",
    "\u2028",
    "\x00",
    "{a}",
    "{t}",
    "%s",
    "#",
    "') or __import__('os').abort() or ('",
    "\U0001f600",
    "k0",
    "e.s",
]


def literal(text: str) -> str:
    return '"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"'


@pytest.mark.parametrize("text", NASTY)
def test_a_string_arrives_as_it_was_written(evaluate: Any, text: str) -> None:
    assert evaluate(literal(text), s="") == text
    assert evaluate(f"s == {literal(text)}", s=text) is True
    assert evaluate(f"s in ['', {literal(text)}, u]", s=text, u="") is True


@pytest.mark.parametrize("text", NASTY)
def test_no_string_is_in_the_source(language: Language, text: str) -> None:
    expression = language.compile(f"s == {literal(text)} || s.contains({literal(text)})", Constants())

    assert expression.source == "((e.s == k0) or (k0 in e.s))"


@pytest.mark.parametrize("raw", ['r"\\n"', "'''a'b\"c'''", '"""\n"""', '"\\x41\\u00e9\\101"'])
def test_every_way_to_write_a_string_is_read_by_cel_and_bound(language: Language, raw: str) -> None:
    constants = Constants()
    language.compile(f"s == {raw}", constants)

    assert list(constants.values.values()) == [ast.literal_eval(raw)]


@pytest.mark.parametrize(
    "name",
    ["class", "from", "None", "lambda", "k0", "t0", "e", "__import__", "import_", "print", "def", "int", "money"],
)
def test_a_field_may_be_called_what_python_or_generated_code_calls_something_else(name: str) -> None:
    language = Language({name: Symbol(Kind.INT, "e.f0"), "other.name": Symbol(Kind.STR, "e.f1")})
    constants = Constants()
    expression = language.compile(f"{name} + 1 > 2 && other.name == 'k0'", constants)
    namespace: dict[str, Any] = dict(constants.values)
    exec(f"def run(e): return {expression.source}", namespace)

    assert expression.names == (name, "other.name")
    assert namespace["run"](SimpleNamespace(f0=2, f1="k0")) is True


@pytest.mark.parametrize(
    "text", ["__import__('os')", "e.s", "k0", "t0 + 1", "(lambda: 1)()", "s.__class__", "s.upper()"]
)
def test_python_is_refused(language: Language, text: str) -> None:
    with pytest.raises(ExpressionError):
        language.compile(text, Constants())


def nested(depth: int) -> str:
    return f"{'(maybe_i + ' * depth}maybe_i{')' * depth}"


def test_whatever_depth_is_accepted_compiles_inside_a_function(language: Language, evaluate: Any) -> None:
    deepest = 0
    while _accepted(language, nested(deepest + 1)):
        deepest += 1

    assert 5 < deepest < 100
    assert evaluate(nested(deepest), maybe_i=1) == deepest + 1


def test_source_too_deep_for_python_with_room_around_it_is_refused() -> None:
    _prove_compilable(f"{'(' * 150}1{')' * 150}")
    with pytest.raises(ExpressionError, match="nested too deeply"):
        _prove_compilable(f"{'(' * 180}1{')' * 180}")


def test_an_operand_that_is_used_twice_is_computed_once(language: Language) -> None:
    assert language.compile("s.trim() in [u, 'a']", Constants()).source == "(((t0 := k0(e.s)) == e.u) or (t0 == k1))"


def _accepted(language: Language, text: str) -> bool:
    try:
        language.compile(text, Constants())
    except ExpressionError:
        return False
    return True


def test_a_long_chain_of_and_or_is_no_deep_nesting(evaluate: Any) -> None:
    assert evaluate(" && ".join(["i > 0"] * 500), i=1) is True
    assert evaluate(" || ".join(["maybe_i > 0"] * 100)) is None


def test_expressions_of_one_function_share_constants_and_no_locals(language: Language) -> None:
    constants = Constants()
    first = language.compile("s == 'a' && maybe_i + 1 > 2", constants)
    second = language.compile("u == 'a' && maybe_i + 1 > 2", constants)

    assert "k0" in first.source
    assert "k0" in second.source
    assert list(constants.values.values()) == ["a"]
    assert not _locals(first.source) & _locals(second.source)


def _locals(source: str) -> set[str]:
    return {node.target.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.NamedExpr)}
