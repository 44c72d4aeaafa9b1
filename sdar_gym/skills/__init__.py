"""Skills: short texts of advice, libraries of them, and retrieval for a task. Depends on no other part of the gym.

What else there is: `sdar_gym.skills.strategies` (the retrievers), `sdar_gym.skills.lookup` (retrieval for an episode),
`sdar_gym.skills.index` (BM25 search), `sdar_gym.skills.formats` (files), `sdar_gym.skills.growth` (new skills).
"""

from sdar_gym.skills.formats.text_files import SkillFormatError
from sdar_gym.skills.growth.deduplicate import DuplicateSkillError
from sdar_gym.skills.library import SkillLibrary, UnknownLibraryError, builtin_libraries, load_library
from sdar_gym.skills.retrieval import LearningRetriever, Retrieval, Retriever, SkillQuery
from sdar_gym.skills.skill import Skill
from sdar_gym.skills.strategies.registry import STRATEGIES, make_retriever
from sdar_gym.skills.warnings import SkillCoverageWarning

__all__ = [
    "STRATEGIES",
    "DuplicateSkillError",
    "LearningRetriever",
    "Retrieval",
    "Retriever",
    "Skill",
    "SkillCoverageWarning",
    "SkillFormatError",
    "SkillLibrary",
    "SkillQuery",
    "UnknownLibraryError",
    "builtin_libraries",
    "load_library",
    "make_retriever",
]
