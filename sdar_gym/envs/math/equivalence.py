"""Equivalence of two answers by their forms; expressions are left to a function, such as the verifier library."""

from __future__ import annotations

from collections.abc import Callable

from sdar_gym.envs.math.forms import (
    Choice,
    Expression,
    Form,
    Infinite,
    Interval,
    Matrix,
    Named,
    Several,
    Union,
    Words,
    read_several,
    split_items,
)
from sdar_gym.envs.math.numbers import Number, numbers_equal

Compare = Callable[[str, str], bool]
_KINDS = {
    Number: "a number",
    Words: "words",
    Choice: "a letter",
    Infinite: "infinity",
    Interval: "an interval",
    Union: "a union",
    Matrix: "a matrix",
    Named: "a value with a name",
    Expression: "an expression",
}


def equivalent(gold: Form, answer: Form, compare: Compare) -> bool:
    """Whether an answer is equivalent to the expected one.

    Args:
        gold: The expected answer.
        answer: The answer.
        compare: Whether two expressions, as LaTeX, are equal; the expected one is the first.
    """
    if isinstance(gold, Named) and isinstance(answer, Named):
        return gold.name == answer.name and equivalent(gold.value, answer.value, compare)
    if isinstance(gold, Named):
        return equivalent(gold.value, answer, compare)
    if isinstance(answer, Named):
        return equivalent(gold, answer.value, compare)
    if isinstance(gold, Several) or isinstance(answer, Several):
        return _several_equal(gold, answer, compare)
    if isinstance(gold, Number) and isinstance(answer, Number):
        return numbers_equal(gold, answer)
    if isinstance(gold, Interval) and isinstance(answer, Interval):
        return (
            (gold.open_low, gold.open_high) == (answer.open_low, answer.open_high)
            and equivalent(gold.low, answer.low, compare)
            and equivalent(gold.high, answer.high, compare)
        )
    if isinstance(gold, Union) and isinstance(answer, Union):
        return _in_any_order(gold.parts, answer.parts, compare)
    if isinstance(gold, Matrix) and isinstance(answer, Matrix):
        return [len(row) for row in gold.rows] == [len(row) for row in answer.rows] and all(
            equivalent(a, b, compare)
            for row, other in zip(gold.rows, answer.rows, strict=True)
            for a, b in zip(row, other, strict=True)
        )
    if isinstance(gold, Expression) or isinstance(answer, Expression):
        first, second = _latex(gold), _latex(answer)
        if _other_unit(gold, answer):
            return False
        return first is not None and second is not None and (first == second or compare(first, second))
    return type(gold) is type(answer) and gold == answer


def opaque(form: Form) -> bool:
    """Whether a form is, or holds, an expression."""
    if isinstance(form, Several):
        return any(map(opaque, form.items))
    if isinstance(form, Union):
        return any(map(opaque, form.parts))
    if isinstance(form, Interval):
        return opaque(form.low) or opaque(form.high)
    if isinstance(form, Matrix):
        return any(opaque(cell) for row in form.rows for cell in row)
    return opaque(form.value) if isinstance(form, Named) else isinstance(form, Expression)


def difference(gold: Form, answer: Form) -> str:
    """In which way two answers differ, in a few words that do not tell the expected one."""
    if isinstance(gold, Named) and isinstance(answer, Named) and gold.name != answer.name:
        return "the names differ"
    gold = gold.value if isinstance(gold, Named) else gold
    answer = answer.value if isinstance(answer, Named) else answer
    if kind_of(gold) != kind_of(answer):
        return f"expected {kind_of(gold)}, found {kind_of(answer)}"
    if isinstance(gold, Number) and isinstance(answer, Number):
        if gold.unit and answer.unit and gold.unit.quantity != answer.unit.quantity:
            return "the units differ"
        return "the numbers differ"
    if isinstance(gold, Several) and isinstance(answer, Several) and len(gold.items) != len(answer.items):
        return f"expected {len(gold.items)} values, found {len(answer.items)}"
    if isinstance(gold, Interval) and isinstance(answer, Interval):
        ends = (gold.open_low, gold.open_high) == (answer.open_low, answer.open_high)
        return "the ends of the interval differ" if ends else "open and closed ends differ"
    return "the answers differ"


def kind_of(form: Form) -> str:
    """The kind of a form in words."""
    return f"a {form.kind}" if isinstance(form, Several) else _KINDS[type(form)]


def _other_unit(gold: Form, answer: Form) -> bool:
    if not isinstance(gold, Number | Expression) or not isinstance(answer, Number | Expression):
        return False
    return gold.unit is not None and answer.unit is not None and gold.unit != answer.unit


def _latex(form: Form) -> str | None:
    if isinstance(form, Expression):
        return form.text
    if isinstance(form, Number):
        return None if form.base else form.written
    if isinstance(form, Infinite):
        return r"-\infty" if form.negative else r"\infty"
    return form.letter if isinstance(form, Choice) else None


def _several_equal(gold: Form, answer: Form, compare: Compare) -> bool:
    if not isinstance(gold, Several):
        # A single value may stand in braces.
        assert isinstance(answer, Several)
        return len(answer.items) == 1 and answer.kind == "set" and equivalent(gold, answer.items[0], compare)
    if isinstance(answer, Number) and "," in answer.written and gold.kind != "set":
        # 100,200 is a number, or a list where one is expected.
        answer = read_several("list", split_items(answer.written), 0) or answer
    if not isinstance(answer, Several):
        return len(gold.items) == 1 and gold.kind == "set" and equivalent(gold.items[0], answer, compare)
    kinds = {gold.kind, answer.kind}
    if kinds == {"set", "tuple"}:
        return False
    if "set" in kinds:
        return _as_sets(gold.items, answer.items, compare)
    if gold.kind == "list":
        return _in_any_order(gold.items, answer.items, compare)
    return len(gold.items) == len(answer.items) and all(
        equivalent(a, b, compare) for a, b in zip(gold.items, answer.items, strict=True)
    )


def _as_sets(gold: tuple[Form, ...], answer: tuple[Form, ...], compare: Compare) -> bool:
    return all(any(equivalent(a, b, compare) for b in answer) for a in gold) and all(
        any(equivalent(a, b, compare) for a in gold) for b in answer
    )


def _in_any_order(gold: tuple[Form, ...], answer: tuple[Form, ...], compare: Compare) -> bool:
    if len(gold) != len(answer):
        return False
    left = list(answer)
    for item in gold:
        found = next((place for place, other in enumerate(left) if equivalent(item, other, compare)), None)
        if found is None:
            return False
        del left[found]
    return True
