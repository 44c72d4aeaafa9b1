"""Keyword retrieval: the skills with keywords that occur in the goal as whole words; the most specific skill wins."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable

from sdar_gym.skills.index.analysis import STOP_WORDS
from sdar_gym.skills.library import SkillLibrary
from sdar_gym.skills.retrieval import ScoredSkill, SkillQuery
from sdar_gym.skills.skill import Skill
from sdar_gym.skills.strategies.base import LibraryRetriever

Phrase = tuple[str, ...]
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_POSSESSIVE = re.compile(r"['’]s$")


def plain_words(text: str) -> Phrase:
    """Tokenize a text into lower-case words, in the singular and without possessive 's; stop words stay in.

    Words are not stemmed: Porter's stemmer makes "rug" of "rugged". Phrases such as "look at" need their stop words.
    """
    words = (_POSSESSIVE.sub("", word) for word in _WORD.findall(text.lower()))
    return tuple(_singular(word) for word in words)


def _singular(word: str) -> str:
    if len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "shes", "ches", "xes", "zes")) else word[:-1]


def phrases_of(skill: Skill) -> frozenset[Phrase]:
    """The phrases that match a skill: its keywords, or, where it has none, the words of its title and `when_to_use`.

    Stop words from title and `when_to_use` are left out.
    """
    if skill.keywords:
        return frozenset(phrase for phrase in map(plain_words, skill.keywords) if phrase)
    words = plain_words(f"{skill.title} {skill.when_to_use}")
    return frozenset((word,) for word in words if word not in STOP_WORDS)


class KeywordRetriever(LibraryRetriever):
    """Takes the skills with keywords that occur in the goal.

    A keyword matches where all its words occur in the goal side by side, as whole words, in singular or plural: "rug"
    matches "area rugs", not "rugged". Its points are its number of words, divided by the number of groups of skills
    (skills for the same task types) that have it. The skill with the most points wins, at a tie the first in the
    library; the result is the winner and the other skills with points that share a task type with it, at most k. A goal
    without any keyword gets no skills.

    Source: SDAR's keyword matching (arXiv 2605.15155, "KM"). Deviations: its code looks for substrings ("hat" in
    "that") in the whole prompt, so that words of the prompt template match too, and takes every file with a match.
    """

    name: str = "keywords"

    def __init__(self, library: SkillLibrary, k: int = 5, include_general: bool = True, include_mistakes: bool = False):
        super().__init__(library, k, include_general, include_mistakes)
        self._phrases: dict[str, frozenset[Phrase]] = {}

    def _key(self, query: SkillQuery) -> Hashable:
        return query.goal, query.task_type

    def _pick(self, query: SkillQuery) -> tuple[tuple[ScoredSkill, ...], str]:
        skills = [skill for skill in self.library if self._competes(skill)]
        words = plain_words(query.goal)
        groups: Counter[Phrase] = Counter()
        by_group: dict[tuple[str, ...], set[Phrase]] = {}
        for skill in skills:
            if skill.id not in self._phrases:
                self._phrases[skill.id] = phrases_of(skill)
            by_group.setdefault(skill.task_types, set()).update(self._phrases[skill.id])
        for phrases in by_group.values():
            groups.update(phrases)
        found = _phrases_in(words, groups)
        scores = {
            skill.id: sum(len(phrase) / groups[phrase] for phrase in sorted(self._phrases[skill.id] & found))
            for skill in skills
        }
        ranked = sorted((skill for skill in skills if scores[skill.id]), key=lambda skill: -scores[skill.id])
        if not ranked:
            return (), query.goal
        winner = set(ranked[0].task_types)
        kept = [skill for skill in ranked if skill.task_types == ranked[0].task_types or winner & set(skill.task_types)]
        return tuple(ScoredSkill(skill, scores[skill.id]) for skill in kept[: self.k]), query.goal


def _phrases_in(words: Phrase, phrases: Iterable[Phrase]) -> frozenset[Phrase]:
    """The phrases with all words side by side in a text; each is searched for once, however long the text is."""
    single = frozenset(words)
    text = f" {' '.join(words)} "  # Words have no spaces in them.
    return frozenset(
        phrase for phrase in phrases if (phrase[0] in single and (len(phrase) == 1 or f" {' '.join(phrase)} " in text))
    )
