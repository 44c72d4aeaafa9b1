"""Duplicate detection: similarity of two skills by normalized BM25 scores."""

from __future__ import annotations

from collections.abc import Iterable

from sdar_gym.skills.index import Document, Hit, open_index
from sdar_gym.skills.skill import Skill

# Measured on the built-in libraries: the two most similar skills (heated food in a fridge, cooled food in a microwave)
# have 0.79; a copy of a skill with one word changed has 0.88 and more.
DUPLICATE_ABOVE = 0.85
_CANDIDATES = 5
_NEW = "new"


class DuplicateSkillError(ValueError):
    """The library has a skill that says the same.

    Args:
        message: The error message.
        similar_id: Id of the library's skill.
        similarity: Of the two skills, 0 to 1.
    """

    def __init__(self, message: str, similar_id: str, similarity: float):
        super().__init__(message)
        self.similar_id = similar_id
        self.similarity = similarity


def most_similar(skill: Skill, others: Iterable[Skill], k: int = 1) -> list[tuple[str, float]]:
    """The skills most similar to a skill, best first, with similarities from 0 to 1.

    BM25 scores have no fixed scale, so they are divided by a text's score for itself: with s(q, d) the score of text d
    for text q in an index over all of them, the similarity of a and b is the smaller of s(a, b) / s(a, a) and
    s(b, a) / s(b, b), at most 1. The smaller one, because a short text that is part of a long one says less than it.
    Equal texts have 1, texts without a common word 0; rare words count more than frequent ones.

    Args:
        skill: The new skill.
        others: Skills to compare it with.
        k: How many to return.

    Returns:
        Pairs of id and similarity.
    """
    # Ids are the skills' positions: a new skill may well have the id of an old one.
    texts = {str(at): (other.id, _text_of(other)) for at, other in enumerate(others)}
    index = open_index([*(Document(key, text) for key, (_, text) in texts.items()), Document(_NEW, _text_of(skill))])
    forward = _relative_scores(index.search(_text_of(skill), len(texts) + 1), _NEW)
    found: list[tuple[str, float]] = []
    for key in sorted(forward.keys() - {_NEW}, key=lambda key: (-forward[key], int(key)))[: max(k, _CANDIDATES)]:
        skill_id, text = texts[key]
        backward = _relative_scores(index.search(text, len(texts) + 1), key)
        found.append((skill_id, min(forward[key], backward.get(_NEW, 0.0), 1.0)))
    index.close()
    return sorted(found, key=lambda pair: -pair[1])[:k]


def _text_of(skill: Skill) -> str:
    # Without the keywords, which skills for one task type have in common.
    return f"{skill.title}\n{skill.when_to_use}\n{skill.text}"


def _relative_scores(hits: Iterable[Hit], itself: str) -> dict[str, float]:
    """Scores relative to a text's score for itself."""
    scores = {hit.id: hit.score for hit in hits}
    return {key: score / scores[itself] for key, score in scores.items()} if itself in scores else {}
