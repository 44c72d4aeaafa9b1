"""Parses a question from a row of a file, in all published formats of the data sets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sdar_gym.envs.searchqa.tasks import QuestionFormatError, RawQuestion, source_of
from sdar_gym.skills.index.rows import as_text, fields_of, kind_of, plain
from sdar_gym.text import well_formed
from sdar_gym.validation import flag

# Bamboogle and TriviaQA's original files capitalize field names.
_QUESTION = ("question", "Question")
# Fields with answers, and with aliases of them; all of them count.
_ANSWERS = ("golden_answers", "reward_model", "answer", "Answer", "answers", "obj", "possible_answers")
_ALIASES = ("answer_aliases", "aliases", "o_aliases")
# PopQA has these lists as JSON strings.
_LISTS_AS_TEXT = ("possible_answers", "o_aliases")
# Fields of an answer object, as in TriviaQA. Normalized forms are not needed: the scores normalize.
_OF_OBJECT = ("value", "Value", "aliases", "Aliases", "human_answers", "HumanAnswers")
# Placeholder for a withheld answer in TriviaQA.
_WITHHELD = "<unk>"
FIELDS = frozenset((*_QUESTION, *_ANSWERS, *_ALIASES, "data_source", "answerable"))
NEEDED = _QUESTION


def read_question(row: Any, where: str) -> RawQuestion:
    """Parse a question.

    The answers are all of `golden_answers` (FlashRAG), `reward_model.ground_truth.target` (Search-R1), `answer`,
    `Answer` (with `value` and `aliases`, if it is an object: TriviaQA), `answers`, `answer_aliases` (MuSiQue),
    `aliases`, `possible_answers`, and with it `obj` and `o_aliases` (PopQA); each once, in this order.

    Args:
        row: The row; values may be NumPy types or tuples.
        where: File and row, for messages.

    Raises:
        QuestionFormatError: There is no question or no answer, or a field has another type.
    """
    if not isinstance(row, dict):
        raise QuestionFormatError(f"{where} is not a question: expected an object, found {kind_of(row)}.")
    text = _question(row, where)
    answerable = _answerable(row, where)
    golden = _golden(row, where)
    if text is None or (answerable and not golden):
        missing = "question" if text is None else "answer"
        raise QuestionFormatError(f"{where} has no {missing}; it has: {fields_of(row)}.")
    return RawQuestion(text, golden, _source(row, where), answerable)


def _question(row: dict[str, Any], where: str) -> str | None:
    field = next((name for name in _QUESTION if row.get(name) is not None), None)
    if field is None:
        return None
    if not isinstance(row[field], str):
        raise QuestionFormatError(f"{where}: `{field}` must be a text, found {kind_of(row[field])}.")
    return well_formed(row[field]).strip() or None


def _answerable(row: dict[str, Any], where: str) -> bool:
    value = plain(row.get("answerable"))
    try:
        return value is None or flag("answerable", value)
    except ValueError as error:
        raise QuestionFormatError(f"{where}: {error}") from error


def _source(row: dict[str, Any], where: str) -> str | None:
    named = row.get("data_source")
    if named is None:
        return None
    if not isinstance(named, str):
        raise QuestionFormatError(f"{where}: `data_source` must be a text, found {kind_of(named)}.")
    named = well_formed(named).strip()
    return source_of(named) or named.replace("/", "-") or None


def _golden(row: dict[str, Any], where: str) -> tuple[str, ...]:
    # `obj` is an answer only in rows of PopQA.
    of_popqa = any(row.get(field) is not None for field in _LISTS_AS_TEXT)
    fields = [field for field in _ANSWERS if of_popqa or field != "obj"]
    found = [text for field in fields for text in _answers(row.get(field), field, where)]
    if _WITHHELD in found:
        raise QuestionFormatError(
            f"{where}: the answer is {_WITHHELD!r}; this is a test set that is published without its answers."
        )
    # Aliases count only together with an answer.
    for field in _ALIASES if found else ():
        found += _answers(row.get(field), field, where)
    # Without duplicates, which occur in the aliases of some sets.
    return tuple(dict.fromkeys(text for text in found if text.strip()))


def _answers(value: Any, field: str, where: str) -> Iterable[str]:
    """Answers in a field, which may be missing."""
    value = plain(value)
    if value is None:
        return ()
    if field == "reward_model":
        return _of_reward_model(value, where)
    if isinstance(value, dict) and not field.endswith("aliases"):
        return _of_object(value, field, where)
    if isinstance(value, str) and field in _LISTS_AS_TEXT and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise QuestionFormatError(f"{where}: `{field}` is not a JSON list: {kind_of(value)}.") from error
    return _texts(value, field, where)


def _texts(value: Any, field: str, where: str) -> list[str]:
    listed = value if isinstance(value, list) else [value]
    # Parquet files have nulls for missing values.
    texts = [as_text(plain(item)) for item in listed if item is not None]
    if None in texts:
        wrong = next(item for item in listed if item is not None and as_text(plain(item)) is None)
        raise QuestionFormatError(
            f"{where}: `{field}` must be a text or a list of texts, found {kind_of(plain(wrong))}. "
            "Write the answers as a list of texts under `golden_answers`."
        )
    return [text for text in texts if text is not None]


def _of_object(value: dict[str, Any], field: str, where: str) -> list[str]:
    known = [name for name in _OF_OBJECT if value.get(name) is not None]
    if not known:
        raise QuestionFormatError(
            f"{where}: `{field}` is an object without `value` and `aliases`, found {kind_of(value)}. "
            "Write the answers as a list of texts under `golden_answers`."
        )
    return [text for name in known for text in _texts(plain(value[name]), f"{field}.{name}", where)]


def _of_reward_model(value: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        raise QuestionFormatError(
            f"{where}: `reward_model` must be an object with `ground_truth`, found {kind_of(value)}."
        )
    truth = plain(value.get("ground_truth"))
    if isinstance(truth, dict):
        if "target" not in truth:
            raise QuestionFormatError(
                f"{where}: `reward_model.ground_truth` must have `target`, found {kind_of(truth)}."
            )
        truth = plain(truth["target"])
    return [] if truth is None else _texts(truth, "reward_model.ground_truth", where)
