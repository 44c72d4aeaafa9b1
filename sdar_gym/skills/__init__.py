"""Skills: short texts of advice, a library of them, and retrieval for a task. Depends on no other part of the gym."""

from sdar_gym.skills.coverage import SkillCoverageWarning, coverage_gap, warn_once
from sdar_gym.skills.index import Document, Hit, MissingBackendError, SearchIndex, open_index
from sdar_gym.skills.keywords import KeywordRetriever
from sdar_gym.skills.library import SkillLibrary, UnknownLibraryError, builtin_libraries, load_library
from sdar_gym.skills.markdown import SkillFormatError
from sdar_gym.skills.retrieval import (
    LibraryRetriever,
    NoRetriever,
    Retrieval,
    Retriever,
    ScoredSkill,
    SkillQuery,
)
from sdar_gym.skills.similarity import DuplicateSkillError, most_similar
from sdar_gym.skills.skill import Skill
from sdar_gym.skills.strategies import (
    STRATEGIES,
    Bm25Retriever,
    FullRetriever,
    OracleTypeRetriever,
    RandomRetriever,
    make_retriever,
)
from sdar_gym.skills.ucb import DEFAULT_UCB_C, LearningRetriever, UcbRetriever

__all__ = [
    "DEFAULT_UCB_C",
    "STRATEGIES",
    "Bm25Retriever",
    "Document",
    "DuplicateSkillError",
    "FullRetriever",
    "Hit",
    "KeywordRetriever",
    "LearningRetriever",
    "LibraryRetriever",
    "MissingBackendError",
    "NoRetriever",
    "OracleTypeRetriever",
    "RandomRetriever",
    "Retrieval",
    "Retriever",
    "ScoredSkill",
    "SearchIndex",
    "Skill",
    "SkillCoverageWarning",
    "SkillFormatError",
    "SkillLibrary",
    "SkillQuery",
    "UcbRetriever",
    "UnknownLibraryError",
    "builtin_libraries",
    "coverage_gap",
    "load_library",
    "make_retriever",
    "most_similar",
    "open_index",
    "warn_once",
]
