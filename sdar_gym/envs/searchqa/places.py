"""Resolves the paths of questions and passages to absolute ones."""

from __future__ import annotations

import os
from pathlib import Path

from sdar_gym.envs import data_files
from sdar_gym.envs.data_files import DATA_VARIABLE as DATA_VARIABLE
from sdar_gym.envs.searchqa.local_index import EMBEDDED, PLAIN, check_corpus
from sdar_gym.skills.index.manifest import is_index_folder
from sdar_gym.skills.index.rows import SUFFIXES

_FOLDER = "searchqa"


class MissingCorpusError(ValueError):
    """No passages found for the questions."""


def located(name: str, path: str | os.PathLike[str]) -> str:
    """Absolute path of data; a relative path that does not exist is searched in `$SDAR_GYM_DATA/searchqa`."""
    return data_files.located(name, path, _FOLDER)


def corpus_path(corpus: str | os.PathLike[str] | None, questions: str | None) -> str | None:
    """Absolute path of the passages; None for the embedded ones, `PLAIN` for those with plain names.

    Args:
        corpus: Path given by the user; None for the corpus beside the questions.
        questions: Path of the questions, or `PLAIN`; None for the embedded ones.

    Raises:
        MissingCorpusError: There are no passages.
        ValueError: The file is not a corpus.
    """
    if corpus is None and questions is None:
        return None
    if corpus is not None and corpus == EMBEDDED:
        return None
    if PLAIN in (corpus, questions if corpus is None else None):
        return PLAIN
    if corpus is not None:
        place = Path(located("corpus", corpus))
        if not os.path.isfile(place) and not is_index_folder(place):
            raise MissingCorpusError(
                f"There are no passages at {place}: name a file ({', '.join(SUFFIXES)}) or a folder made by "
                "`sdar-gym index`."
            )
        check_corpus(place)
        return str(place)
    beside = _beside(Path(questions or ""))
    if beside is None:
        raise MissingCorpusError(
            f"The questions of {questions} need passages: name them with corpus=PATH, or a server that has them with "
            "search='http://host:port'."
        )
    check_corpus(beside)
    return str(beside)


def _beside(questions: Path) -> Path | None:
    """The file `<name>_corpus.*` beside a question file, if there is one."""
    suffix = next((ending for ending in SUFFIXES if questions.name.lower().endswith(ending)), None)
    if suffix is None:
        return None
    stem = questions.name[: -len(suffix)]
    places = (questions.with_name(f"{stem}_corpus{ending}") for ending in SUFFIXES)
    return next((place for place in places if place.is_file()), None)
