"""Problems of science in files: rows of SciKnowEval, and a plain form with question, answer, unit and choices."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from sdar_gym.envs.data_files import identity_of, row_files, words_of
from sdar_gym.envs.problems.problem import ProblemFormatError
from sdar_gym.envs.problems.sources import ListedProblems, open_problems
from sdar_gym.envs.science.answers import spellings_of
from sdar_gym.envs.science.fields import key_of, level_of, options_of, text_of
from sdar_gym.envs.science.notation import read_quantity
from sdar_gym.envs.science.problem import Kind, Option, ScienceProblem, written_solution
from sdar_gym.envs.science.quantities import DEFAULT_TOLERANCE, Quantity, check_unit
from sdar_gym.extras import MissingExtraError
from sdar_gym.skills.index.rows import fields_of, kind_of, plain
from sdar_gym.text import terminal_safe, well_formed
from sdar_gym.validation import finite_number

_log = logging.getLogger(__name__)
SCIKNOWEVAL = "sciknoweval"
COLUMNS = (
    *("question", "answer", "choices", "answerKey", "type", "domain", "details"),
    *("unit", "tolerance", "solution", "data_source", "accepted"),
)
NEEDED = ("question",)
# Types of rows that a rule can check; the others need a judge or a similarity.
_CHOICES = ("mcq-4-choices", "mcq-2-choices")
_TRUTH = "true_or_false"
_FILLING = "filling"
# A longer reference is an essay that no rule can compare.
_LONGEST_TEXT = 300


def open_science(path: Path, levels: tuple[int, ...]) -> ListedProblems[ScienceProblem]:
    """Read a file or folder of problems, cached per process until it changes.

    Rows that no rule can check, and those of other levels, are left out; their numbers are logged.

    Args:
        path: See `open_problems`. A file without a split in its name is `train`.
        levels: Levels of SciKnowEval, 1 to 5. Rows without a level are kept.

    Raises:
        ProblemFormatError: There are no problems, or a row is not a problem.
        MissingExtraError: A problem has a unit, and `pint` is not installed.
    """
    files = row_files(path) if path.exists() else []
    return _opened(path, identity_of(files), levels)


@lru_cache(maxsize=8)
def _opened(
    path: Path, identity: tuple[tuple[str, int, int], ...], levels: tuple[int, ...]
) -> ListedProblems[ScienceProblem]:
    reader = RowReading(levels)
    try:
        problems = open_problems(path, reader, columns=COLUMNS, needed=NEEDED)
    except ProblemFormatError as error:
        # Without any problem left, it helps to know what was left out.
        raise (ProblemFormatError(f"{error} {reader.summary}") if reader.left_out else error) from error
    if reader.left_out:
        _log.warning("%s: %s", terminal_safe(str(path)), reader.summary)
    return problems


class RowReading:
    """Makes problems of rows, and counts those that are left out.

    SciKnowEval's fields: `question`; `type` (`mcq-4-choices`, `mcq-2-choices`, `true_or_false`, `filling`,
    `open-ended-qa`, `relation_extraction`); `choices`, an object of the lists `text` and `label`; `answerKey`, a label;
    `answer`, a text, for rows without choices; `domain` (`Biology`, `Chemistry`, `Physics`, `Material`); `details` with
    `level` (`L1` to `L5`), `task`, `subtask` and `source`. The field `prompt.default`, which asks for an answer without
    an explanation, is not read.

    Source: arXiv 2406.09098 and the rows of level 3 in its repository (HICAI-ZJU/SciKnowEval, `raw_data`), of which
    these were looked at: chemical equations (`filling`), protein solubility (`true_or_false`), school physics and
    diffusion rates (`mcq-4-choices`). `mcq-2-choices`, `open-ended-qa` and `relation_extraction` are named by code that
    reads the set; no row of those types was looked at. Scripts that prepare the set tell of rows with other numbers of
    texts than labels: such rows, and those whose key is no label, are left out and counted as damaged.

    Args:
        levels: Levels of SciKnowEval that are kept.

    Attributes:
        left_out: Number of rows left out, by reason.
    """

    def __init__(self, levels: tuple[int, ...]):
        self.levels = levels
        self.left_out: Counter[str] = Counter()

    @property
    def summary(self) -> str:
        """What was left out, a sentence."""
        parts = ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out.items()))
        return f"Rows left out: {parts}."

    def __call__(self, row: Any, split: str, where: str) -> ScienceProblem | None:
        """Make a problem of a row; None leaves it out.

        Raises:
            ProblemFormatError: A field is missing or has another type; the message names file, row and field.
        """
        question = text_of(row, "question", where)
        if not question:
            raise ProblemFormatError(f"{where} has no question; it has: {fields_of(dict(row))}.")
        details = plain(row.get("details"))
        if details is not None and not isinstance(details, dict):
            raise ProblemFormatError(f"{where}: `details` must be an object, found {kind_of(details)}.")
        level = level_of(details, where) if details else None
        if level is not None and level not in self.levels:
            self.left_out[f"of level L{level}"] += 1
            return None
        kind = text_of(row, "type", where)
        if details is not None or kind:
            return self._of_sciknoweval(row, split, where, question, kind)
        return _of_plain_form(row, split, where, question)

    def _of_sciknoweval(
        self, row: Mapping[str, Any], split: str, where: str, question: str, kind: str
    ) -> ScienceProblem | None:
        if kind in _CHOICES:
            try:
                options = options_of(row, where)
                key = key_of(text_of(row, "answerKey", where), options, where, "answerKey")
            except ProblemFormatError:
                if not isinstance(plain(row.get("choices")), dict):
                    raise
                self.left_out["with damaged choices"] += 1
                return None
            return _choice(row, split, where, question, options, key, SCIKNOWEVAL)
        answer = text_of(row, "answer", where)
        if kind == _TRUTH:
            spellings = spellings_of(answer)
            if len(spellings) < 2:
                raise ProblemFormatError(f"{where}: `answer` must be Yes or No, found {kind_of(row.get('answer'))}.")
            return _problem(
                row, split, where, f"{question}\nAnswer yes or no.", SCIKNOWEVAL, Kind.TEXT, answer, accepted=spellings
            )
        if kind == _FILLING:
            if not answer:
                raise ProblemFormatError(f"{where}: `answer` is empty; a row to be filled in needs one.")
            return _problem(row, split, where, question, SCIKNOWEVAL, Kind.TEXT, answer, accepted=(answer,))
        self.left_out[f"of type {kind or 'unknown'} that no rule can check"] += 1
        return None


def _of_plain_form(row: Mapping[str, Any], split: str, where: str, question: str) -> ScienceProblem:
    source = text_of(row, "data_source", where) or "science"
    if plain(row.get("choices")) is not None:
        options = options_of(row, where)
        field = "answerKey" if row.get("answerKey") is not None else "answer"
        return _choice(
            row, split, where, question, options, key_of(text_of(row, field, where), options, where, field), source
        )
    answer, unit = text_of(row, "answer", where, numbers=True), text_of(row, "unit", where)
    if not answer:
        raise ProblemFormatError(f"{where} has no answer; it has: {fields_of(dict(row))}.")
    quantity = _quantity(row, answer, unit, where)
    if quantity is not None:
        shown = f"{answer} {unit}".strip()
        return _problem(row, split, where, question, source, Kind.QUANTITY, shown, quantity=quantity)
    accepted = plain(row.get("accepted"))
    if accepted is not None and not (isinstance(accepted, list) and all(isinstance(text, str) for text in accepted)):
        raise ProblemFormatError(f"{where}: `accepted` must be a list of texts, found {kind_of(accepted)}.")
    if len(answer) > _LONGEST_TEXT:
        raise ProblemFormatError(
            f"{where}: `answer` has {len(answer):,} characters; no rule compares texts of over {_LONGEST_TEXT}."
        )
    spellings = (*spellings_of(answer), *(well_formed(text) for text in accepted or ()))
    return _problem(row, split, where, question, source, Kind.TEXT, answer, accepted=spellings)


def _quantity(row: Mapping[str, Any], answer: str, unit: str, where: str) -> Quantity | None:
    """The answer as a quantity; None if it is a text."""
    written = read_quantity(f"{answer} {unit}".strip())
    if written is None:
        if unit:
            raise ProblemFormatError(f"{where}: `answer` must be a number, since there is a `unit`; found {answer!r}.")
        return None
    alone = read_quantity(answer)
    if unit and (alone is None or alone.unit):
        raise ProblemFormatError(
            f"{where}: `answer` must be a number alone, since there is a `unit`; found {answer!r}."
        )
    if written.unit:
        try:
            check_unit(written.unit)
        except MissingExtraError:
            raise
        except ValueError as error:
            # `2 apples` and `2H2O` are texts, unless there is a `unit`.
            if not unit:
                return None
            raise ProblemFormatError(f"{where}: `unit`: {error}.") from error
    tolerance = row.get("tolerance")
    try:
        share = DEFAULT_TOLERANCE if tolerance is None else finite_number("tolerance", plain(tolerance), 0, below=1)
    except ValueError as error:
        raise ProblemFormatError(f"{where}: `tolerance`: {error}") from error
    return Quantity(written.value, unit or written.unit, share)


def _choice(
    row: Mapping[str, Any], split: str, where: str, question: str, options: tuple[Option, ...], key: str, source: str
) -> ScienceProblem:
    listed = "\n".join(f"{option.label}. {option.text}" for option in options)
    return _problem(row, split, where, f"{question}\n{listed}", source, Kind.CHOICE, key, options=options)


def _problem(
    row: Mapping[str, Any],
    split: str,
    where: str,
    text: str,
    source: str,
    kind: Kind,
    answer: str,
    *,
    quantity: Quantity | None = None,
    options: tuple[Option, ...] = (),
    accepted: tuple[str, ...] = (),
) -> ScienceProblem:
    solution = text_of(row, "solution", where)
    domain = "-".join(words_of(text_of(row, "domain", where))) or "science"
    return ScienceProblem(
        task_id="",
        task_type=domain.removesuffix("s") if domain == "materials" else domain,
        split=split,
        text=text,
        source=source,
        group=text,
        solution=written_solution((solution,), answer) if solution else "",
        kind=kind,
        answer=answer,
        quantity=quantity,
        options=options,
        accepted=accepted,
    )
