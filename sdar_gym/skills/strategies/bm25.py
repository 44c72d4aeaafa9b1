"""BM25 retrieval: the goal is the query, the skills are the documents, in one index or one per field."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

from sdar_gym.skills.index import Document, SearchIndex, open_index, resolve_backend
from sdar_gym.skills.library import SkillLibrary
from sdar_gym.skills.retrieval import ScoredSkill, SkillQuery
from sdar_gym.skills.skill import Skill
from sdar_gym.skills.strategies.base import LibraryRetriever
from sdar_gym.text import shortened
from sdar_gym.validation import finite_number

FIELDS = ("title", "when_to_use", "text")
_WHOLE = "whole"


class Bm25Retriever(LibraryRetriever):
    """BM25 search with the goal over titles, uses, keywords and texts of the skills; the task type is not read.

    With `include_general` the general skills come first and the search is over the others; without, the search is over
    all of them and the best k are returned. Skills that share no word with the goal are never returned. Skills added to
    the library are added to the index on the next search.

    Args:
        library: Skills to pick from.
        k: Most search results to return.
        include_general: See `LibraryRetriever`.
        include_mistakes: See `LibraryRetriever`.
        backend: `auto`, `bm25s` or `lucene`; see `sdar_gym.skills.index.resolve_backend`.
        field_weights: Weights of `title`, `when_to_use` (keywords included) and `text`. Each field gets a separate
            index, and a skill's score is the weighted sum; a field without a weight counts nothing. Empty: one index
            over the three as one text.

    Raises:
        MissingBackendError: The backend is not installed.
        ValueError: k is below 1, a backend or field is unknown, or a weight is no finite number of at least 0.
    """

    name: str = "bm25"
    options: ClassVar[tuple[str, ...]] = ("backend", "field_weights")

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
        self.field_weights = _checked_field_weights(field_weights or {})
        # Built on the first search, where the search happens: retrievers are made in one process and used in others.
        self._indices: dict[str, SearchIndex] = {}
        self._indexed = 0

    def _key(self, query: SkillQuery) -> Hashable:
        # The skills do not depend on the task type, `specific` does.
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
        """Add the library's new skills to the indices; a library grows at its end only."""
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


def _checked_field_weights(weights: Mapping[str, float]) -> dict[str, float]:
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
