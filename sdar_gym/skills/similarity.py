"""How alike two skills are, so that a library that grows does not collect the same advice under many ids."""

from __future__ import annotations

from collections.abc import Iterable

from sdar_gym.skills.index import Document, Hit, open_index
from sdar_gym.skills.skill import Skill

# Measured on the libraries that ship: the two most alike (heated food in a fridge, cooled food in a microwave) have
# 0.79; a copy of a skill with one word changed has 0.88 and more.
DUPLICATE_ABOVE = 0.85
_CANDIDATES = 5
_NEW = "new"


class DuplicateSkillError(ValueError):
    """The library has a skill that says the same.

    Args:
        message: What to tell.
        similar_id: Id of the skill that it has.
        similarity: How alike they are, 0 to 1.
    """

    def __init__(self, message: str, similar_id: str, similarity: float):
        super().__init__(message)
        self.similar_id = similar_id
        self.similarity = similarity


def most_similar(skill: Skill, others: Iterable[Skill], k: int = 1) -> list[tuple[str, float]]:
    """The skills most like this one, best first, with similarities from 0 to 1.

    BM25 scores have no scale of their own, so they are divided by what a text scores for itself: with s(q, d) the score
    of text d for text q in an index over all of them, the similarity of a and b is the smaller of s(a, b) / s(a, a) and
    s(b, a) / s(b, b), at most 1. The smaller one, because a short text that is part of a long one says less than it.
    Equal texts have 1, texts without a common word 0; rare words count more than frequent ones.

    Args:
        skill: The new one.
        others: Those to compare it with.
        k: How many to return.
    """
    # Ids are the skills' positions: a new skill may well have the id of an old one.
    texts = {str(at): (other.id, _said(other)) for at, other in enumerate(others)}
    index = open_index([*(Document(key, text) for key, (_, text) in texts.items()), Document(_NEW, _said(skill))])
    forth = _shares(index.search(_said(skill), len(texts) + 1), _NEW)
    found: list[tuple[str, float]] = []
    for key in sorted(forth.keys() - {_NEW}, key=lambda key: (-forth[key], int(key)))[: max(k, _CANDIDATES)]:
        skill_id, text = texts[key]
        back = _shares(index.search(text, len(texts) + 1), key)
        found.append((skill_id, min(forth[key], back.get(_NEW, 0.0), 1.0)))
    index.close()
    return sorted(found, key=lambda pair: -pair[1])[:k]


def _said(skill: Skill) -> str:
    # Without the keywords, which skills of one kind have in common.
    return f"{skill.title}\n{skill.when_to_use}\n{skill.text}"


def _shares(hits: Iterable[Hit], own: str) -> dict[str, float]:
    """Scores as shares of a text's score for itself."""
    scores = {hit.id: hit.score for hit in hits}
    return {key: score / scores[own] for key, score in scores.items()} if own in scores else {}
