"""The retrieval strategies by name: task type, BM25, keywords, UCB, and the controls `full`, `random`, `none`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from difflib import get_close_matches
from hashlib import sha256
from typing import Any

from sdar_gym.skills.index import Document, SearchIndex, open_index, resolve_backend
from sdar_gym.skills.keywords import KeywordRetriever
from sdar_gym.skills.library import SkillLibrary
from sdar_gym.skills.retrieval import LibraryRetriever, NoRetriever, Retriever, ScoredSkill, SkillQuery
from sdar_gym.skills.skill import Skill
from sdar_gym.skills.ucb import DEFAULT_UCB_C, UcbRetriever
from sdar_gym.text import shortened
from sdar_gym.validation import finite_number, whole_number

FIELDS = ("title", "when_to_use", "text")
_WHOLE = "whole"


class OracleTypeRetriever(LibraryRetriever):
    """Takes the skills of the task's own type, as the environment names it; the first k, in library order.

    An unknown task type gets the general skills, or nothing, and `specific` is False.
    """

    name: str = "oracle_type"

    def _key(self, query: SkillQuery) -> Hashable:
        return query.task_type

    def _pick(self, query: SkillQuery) -> tuple[tuple[ScoredSkill, ...], str]:
        return tuple(ScoredSkill(skill) for skill in self.library.for_task_type(query.task_type)[: self.k]), ""


class Bm25Retriever(LibraryRetriever):
    """Searches titles, uses, keywords and texts of the skills with the goal, without looking at the task type.

    With `include_general` the general skills come first and the search is over the others; without, the search is over
    all of them and the best k are returned. Skills that share no word with the goal are not returned at all. Skills
    that are added to the library are added to the index on the next search.

    Args:
        library: Skills to pick from.
        k: Most search results to return.
        include_general: See `LibraryRetriever`.
        include_mistakes: See `LibraryRetriever`.
        backend: `auto`, `bm25s` or `lucene`; see `sdar_gym.skills.index.resolve_backend`.
        field_weights: Weights of `title`, `when_to_use` (keywords included) and `text`. Each field gets an index of its
            own, and a skill's score is the weighted sum; a field that is not named counts nothing. Empty: one index
            over the three as one text.

    Raises:
        MissingBackendError: The backend is not installed.
        ValueError: k is below 1, there is no backend or field of that name, or the weights are no weights.
    """

    name: str = "bm25"

    def __init__(
        self,
        library: SkillLibrary,
        k: int = 5,
        include_general: bool = True,
        include_mistakes: bool = False,
        backend: str = "auto",
        field_weights: Mapping[str, float] | None = None,
    ):
        super().__init__(library, k, include_general, include_mistakes)
        self.backend = resolve_backend(backend)
        self.field_weights = checked_field_weights(field_weights or {})
        # Built on the first search, where the search happens: retrievers are made in one process and used in others.
        self._indices: dict[str, SearchIndex] = {}
        self._indexed = 0

    def _key(self, query: SkillQuery) -> Hashable:
        # The task type decides about `specific`, not about the skills.
        return query.goal, query.task_type

    def _pick(self, query: SkillQuery) -> tuple[tuple[ScoredSkill, ...], str]:
        self._update()
        if not self.field_weights:
            hits = self._indices[_WHOLE].search(query.goal, self.k)
            return tuple(ScoredSkill(self.library.get(hit.id), hit.score) for hit in hits), query.goal
        total: dict[str, float] = {}
        for field, weight in self.field_weights.items():
            for hit in self._indices[field].search(query.goal, len(self.library)):
                total[hit.id] = total.get(hit.id, 0.0) + weight * hit.score
        best = sorted(total, key=lambda skill_id: (-total[skill_id], skill_id))[: self.k]
        return tuple(ScoredSkill(self.library.get(skill_id), total[skill_id]) for skill_id in best), query.goal

    def _update(self) -> None:
        """Bring the indices up to the library, which only ever grows at its end."""
        new = [skill for skill in self.library.skills[self._indexed :] if self._competes(skill)]
        for field in self.field_weights or (_WHOLE,):
            texts = [Document(skill.id, _text_of(skill, field)) for skill in new]
            if field not in self._indices:
                self._indices[field] = open_index(texts, self.backend)
            elif texts:
                self._indices[field].add(texts)
        self._indexed = len(self.library)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_indices": {}, "_indexed": 0}


class FullRetriever(LibraryRetriever):
    """The whole library for every task, in library order; `k` is not looked at.

    Source: the "Full" control of SDAR (arXiv 2605.15155, Table 2), which there means all files of an environment.
    """

    name: str = "full"

    def _key(self, query: SkillQuery) -> Hashable:
        return query.task_type  # for `specific`

    def _pick(self, query: SkillQuery) -> tuple[tuple[ScoredSkill, ...], str]:
        return tuple(ScoredSkill(skill) for skill in self.library if self._competes(skill)), ""


class RandomRetriever(LibraryRetriever):
    """k skills by lot, the same ones for the same goal: what retrieval has to beat.

    Source: the "Random" control of SDAR (arXiv 2605.15155, Table 2). Its code was not published; the details are ours.

    Args:
        library: Skills to pick from.
        k: How many.
        include_general: See `LibraryRetriever`.
        include_mistakes: See `LibraryRetriever`.
        seed: Another seed, other lots.
    """

    name: str = "random"

    def __init__(
        self,
        library: SkillLibrary,
        k: int = 5,
        include_general: bool = True,
        include_mistakes: bool = False,
        seed: int = 0,
    ):
        super().__init__(library, k, include_general, include_mistakes)
        self.seed = whole_number("seed", seed)

    def _key(self, query: SkillQuery) -> Hashable:
        return query.goal, query.task_type

    def _pick(self, query: SkillQuery) -> tuple[tuple[ScoredSkill, ...], str]:
        def lot(skill: Skill) -> bytes:
            # By hash, not by a generator: equal in every process, and a new skill moves no other one.
            return sha256(f"{self.seed}\n{query.goal}\n{skill.id}".encode("utf-8", "replace")).digest()

        drawn = sorted(filter(self._competes, self.library), key=lot)[: self.k]
        return tuple(ScoredSkill(skill) for skill in drawn), ""


STRATEGIES: tuple[str, ...] = (
    OracleTypeRetriever.name,
    Bm25Retriever.name,
    KeywordRetriever.name,
    UcbRetriever.name,
    FullRetriever.name,
    RandomRetriever.name,
    NoRetriever.name,
)


def make_retriever(
    strategy: str,
    library: SkillLibrary | None,
    *,
    k: int = 5,
    include_general: bool = True,
    backend: str = "auto",
    include_mistakes: bool = False,
    field_weights: Mapping[str, float] | None = None,
    seed: int = 0,
    ucb_c: float = DEFAULT_UCB_C,
) -> Retriever:
    """The retriever for a strategy's name, as a configuration file spells it.

    Args:
        strategy: One of `STRATEGIES`.
        library: Skills to pick from; `none` does without.
        k: Most task-specific skills (or search results) to return.
        include_general: Whether all general advice comes first.
        backend: Search backend of `bm25`.
        include_mistakes: Whether the general mistakes come with it.
        field_weights: Of `bm25`; see `Bm25Retriever`.
        seed: Of `random`.
        ucb_c: Of `ucb`; see `UcbRetriever`.

    Raises:
        MissingBackendError: The backend is not installed.
        ValueError: An unknown strategy or backend, k below 1, field weights or an exploration weight of a strategy that
            has none, or a strategy that needs a library and has none.
    """
    check_strategy(strategy)
    if field_weights and strategy != Bm25Retriever.name:
        raise ValueError(f"field_weights belong to the strategy 'bm25', not to {strategy!r}; leave them out.")
    if ucb_c != DEFAULT_UCB_C and strategy != UcbRetriever.name:
        raise ValueError(f"ucb_c ({ucb_c!r}) belongs to the strategy 'ucb', not to {strategy!r}; leave it out.")
    if strategy == NoRetriever.name:
        return NoRetriever()
    if library is None:
        raise ValueError(f"The strategy {strategy!r} picks from a skill library; give one, or use 'none'.")
    if strategy == Bm25Retriever.name:
        return Bm25Retriever(library, k, include_general, include_mistakes, backend, field_weights)
    if strategy == RandomRetriever.name:
        return RandomRetriever(library, k, include_general, include_mistakes, seed)
    if strategy == UcbRetriever.name:
        return UcbRetriever(library, k, include_general, include_mistakes, ucb_c)
    for kind in (OracleTypeRetriever, KeywordRetriever):
        if strategy == kind.name:
            return kind(library, k, include_general, include_mistakes)
    return FullRetriever(library, k, include_general, include_mistakes)


def check_strategy(strategy: str) -> None:
    """Refuse a name that no strategy has.

    Raises:
        ValueError: There is no such strategy.
    """
    if strategy not in STRATEGIES:
        close = get_close_matches(strategy, STRATEGIES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"Unknown retrieval strategy {strategy!r}; there are: {', '.join(STRATEGIES)}.{hint}")


def checked_field_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights above zero, in the order of the fields.

    Raises:
        ValueError: An unknown field, a negative or infinite weight, or none above zero.
    """
    if not isinstance(weights, Mapping):
        raise ValueError(f"field_weights names fields and their weights, got {shortened(weights)}.")
    for field, weight in weights.items():
        if field not in FIELDS:
            raise ValueError(f"A skill has no field {field!r} to weigh; there are: {', '.join(FIELDS)}.")
        try:
            finite_number(field, weight, 0)
        except ValueError:
            raise ValueError(
                f"The weight of the field {field!r} must not be negative or infinite; got {shortened(weight)}."
            ) from None
    above = {field: float(weights[field]) for field in FIELDS if weights.get(field, 0) > 0}
    if weights and not above:
        raise ValueError("All field weights are zero, so nothing would be found; leave them out, or raise one.")
    return above


def _text_of(skill: Skill, field: str) -> str:
    return skill.search_text if field == _WHOLE else skill.search_fields[field]
