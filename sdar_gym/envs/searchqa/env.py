"""`sdar/SearchQA-v0`: open-domain question answering with passage search, one query per turn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gymnasium.envs.registration import EnvSpec

from sdar_gym.envs.searchqa.generator import EmbeddedQuestions
from sdar_gym.envs.searchqa.local_index import EMBEDDED, PLAIN
from sdar_gym.envs.searchqa.places import DATA_VARIABLE as DATA_VARIABLE
from sdar_gym.envs.searchqa.places import MissingCorpusError as MissingCorpusError
from sdar_gym.envs.searchqa.places import corpus_path, located
from sdar_gym.envs.searchqa.questions import check_holdout, open_questions
from sdar_gym.envs.searchqa.retrieval import check_search, shared_retriever
from sdar_gym.envs.searchqa.reward import exact_match, f1
from sdar_gym.envs.searchqa.search_contract import PassageSearch, SearchSpec
from sdar_gym.envs.searchqa.tasks import Question, QuestionSource
from sdar_gym.envs.searchqa.text import NOT_UNDERSTOOD, OUT_OF_TURNS, information, query_of, read_call
from sdar_gym.envs.text_env import Task, TaskNotFoundError, TextEnv, Turn
from sdar_gym.text import shortened
from sdar_gym.validation import finite_number, text_list, whole_number


class SearchQAEnv(TextEnv):
    """Search-QA: question answering with passage search.

    Task:
        One question. Search for passages, as often as the turn limit allows, then answer in a few words. The embedded
        questions are about a generated world, so that they can be answered by search only: `one_hop`, `two_hop` (the
        first passage names the entity to look up next) and `comparison` (two passages). The task type of real
        questions is their data set: `nq`, `triviaqa`, `popqa`, `hotpotqa`, `2wikimultihopqa`, `musique`, `bamboogle`.

        Of a question file only these fields are read. Every answer in them counts. A value of another type raises an
        error with file, row and field.

        - FlashRAG: `question`, `golden_answers`.
        - Search-R1: those, `reward_model.ground_truth.target` and `data_source`.
        - NQ-open: `question`, `answer`, a text or a list of texts.
        - TriviaQA: `question`, and of the object `answer` the fields `value` and `aliases`; in the authors' files, with
          rows under `Data`, `Question` and of `Answer` the fields `Value`, `Aliases` and `HumanAnswers`. Normalized
          forms are not needed, since the score normalizes. Rows with a withheld answer (`<unk>`) raise an error.
        - PopQA: `question`, `possible_answers`, `obj` and `o_aliases`, as lists or as JSON strings.
        - HotpotQA and 2WikiMultihopQA: `question`, `answer`. Contexts, supporting facts and evidences are not used,
          nor is 2Wiki's `answer_id`, whose aliases are in a separate file.
        - MuSiQue: `question`, `answer`, `answer_aliases`. Questions with `answerable: false` are left out; their number
          is logged, and stored in `ListedQuestions.unanswerable`. Paragraphs are not used.
        - Bamboogle: `Question`, `Answer`.
        - Other files: also `answers` and `aliases`.

    Observation:
        First the question. After a search `<information>`, a JSON object with the passages under `result` as
        `Doc 1: …`, `Doc 2: …`, and `</information>`.

    Action:
        `<search>query</search>` or `<answer>answer</answer>`. Text around the tags is ignored. The action is
        truncated after the first `</search>` (else `</answer>`); if both kinds of tags remain, the search counts, and
        of several pairs the first. Such an action, an empty one and one without tags are invalid, and count as a turn.
        Tags are case-sensitive.

    Reward:
        `success_reward` for an exact match, else 0: the answer equals one of the golden answers after lower-casing and
        removal of punctuation, articles and extra space. Default 1, as in the reference.

    Episode end:
        Terminated by an answer, correct or not; truncated after `max_steps` turns (4 as in the published runs). A
        search in the last turn is skipped, since its result could not be used.

    Info:
        `task_id, task_type, split, goal, admissible_actions, action_valid, score, won, turn`; `admissible_actions` is
        empty, since actions are open-ended. `data_source` (data set of the question), `em` and `f1` (0 before the
        answer; `score` is `em`), `answer` ("" before it) and `searches` (number of searches). Report the scores of
        real data sets by `data_source`, and their unweighted mean with `reward.mean_over_sources`.

    Splits:
        `train`, `dev`, `test`, as far as the questions have them; the name of a file determines its split. A question
        that occurs in two splits is left out of the earlier one. The splits of the embedded world are about disjoint
        people, novels, companies and towns.

    Arguments:
        questions: A file or folder of questions in one of the formats above: `.jsonl` (also `.jsonl.gz`), `.json` or
            `.parquet`. A relative path that does not exist is searched in `$SDAR_GYM_DATA/searchqa`.
            Default, and `"embedded"`: the embedded world. `"plain"`: an embedded world whose names are of common
            words (`Anna Baker`, `Solar Works`), so that very small models can copy them.
        corpus: The passages: a `.jsonl`, `.json` or `.parquet` file of them, or a folder made by `sdar-gym index`.
            Default: `<name>_corpus` with the same suffix beside the questions; the embedded passages for the embedded
            world. The constructor reads the first passage, so that an empty corpus raises early; the first episode
            reads the rest.
        split: The split that `reset()` draws from; default the first one present.
        task_types: One task type or several; default all. Of a file the type of every question is read once for it.
        search: Search backend. `auto`, `bm25s` or `lucene`: an index in this process, shared by all its environments
            (an index folder determines its backend). `ray`: a named actor, one per cluster. `http://host:port`: a
            server such as `sdar-gym serve-search`; `corpus` is not used then. A user and password in the address are
            sent but never shown. `check_ready()` makes one search with any of them.
        topk: Number of passages per search.
        holdout: Fraction of the training questions that becomes the split `test`, for files without one; at least 0
            and below 1.
        max_steps: Turn limit.
        success_reward: Reward for an exact match.
        search_timeout: Seconds for one request to a server or an actor. An actor that died is waited for ten times as
            long.
        search_retries: Retries of a failed request. When all fail, `step` raises `SearchFailedError`: a failure is
            never shown as an empty result. The turn does not count, and the same step can be repeated.

    Differences from the reference:
        BM25 instead of dense retrieval by default; published results use E5 over wiki-18, so compare with
        them only when using such a server. The score is that of the answer that ends the episode, not of the last
        answer tags anywhere in the text, passages included. A query is truncated to 2,000 characters. An invalid action
        gets an error message as observation. A failed search raises instead of being shown as a result. Scores are
        means over questions, not over batches.

    Version history:
        v0: first release.
    """

    def __init__(
        self,
        questions: str | os.PathLike[str] | None = None,
        corpus: str | os.PathLike[str] | None = None,
        split: str | None = None,
        task_types: str | Sequence[str] | None = None,
        search: str = "auto",
        topk: int = 3,
        holdout: float = 0.0,
        max_steps: int = 4,
        success_reward: float = 1.0,
        search_timeout: float = 30.0,
        search_retries: int = 6,
        render_mode: str | None = None,
    ):
        super().__init__(max_steps, render_mode)
        self._topk = whole_number("topk", topk, 1)
        self._success_reward = finite_number("success_reward", success_reward)
        files = None if questions is None or questions in (EMBEDDED, PLAIN) else questions
        self._questions_path = None if files is None else located("questions", files)
        self._plain = questions == PLAIN
        self._holdout = check_holdout(holdout)
        if self._holdout and self._questions_path is None:
            raise ValueError("The embedded questions have a test split already, so `holdout` must be 0.")
        self._source: QuestionSource | None = None
        self._task_types = None if task_types is None else frozenset(text_list("task_types", task_types))
        self._chosen: dict[str, tuple[str, ...]] = {}
        self._split = self._questions.splits[0] if split is None else split
        self.task_ids(self._split)  # Raises for an unknown split now instead of at the first reset.
        spec = SearchSpec(search=search, timeout=search_timeout, retries=search_retries)
        place = None if spec.is_server else corpus_path(corpus, PLAIN if self._plain else self._questions_path)
        self._spec = replace(spec, corpus=place)
        self._retriever: PassageSearch | None = None
        self._made_with: EnvSpec | None = None
        self._question: Question | None = None
        self._searches = 0

    @property
    def question(self) -> Question:
        """Question of the running episode, with its golden answers.

        Raises:
            ValueError: No episode is running.
        """
        if self._question is None:
            raise ValueError("No episode is running: call reset() first.")
        return self._question

    @property
    def embedded(self) -> bool:
        """Whether the questions are about the embedded world."""
        return self._questions_path is None

    @property
    def spec(self) -> EnvSpec | None:
        """Spec from which `gymnasium.make` makes the same environment, in any directory or process."""
        return self._made_with

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        given = {} if spec is None else spec.kwargs
        places = {"questions": self._questions_path, "corpus": self._spec.corpus}
        # Absolute, since relative paths depend on the working directory and on $SDAR_GYM_DATA.
        kept = {name: place for name, place in places.items() if given.get(name) is not None and place is not None}
        self._made_with = None if spec is None else replace(spec, kwargs={**given, **kept})

    def check_ready(self) -> None:
        """Preflight check: open the local index, or send one query to the server or actor.

        Raises:
            ValueError: The search fails; the message says why.
        """
        check_search(self._spec, query_of(self._questions.load(self.task_ids()[0]).text), self._topk)

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that the questions have."""
        return self._questions.splits

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """Ids of all questions of a split (default: the environment's) with one of the selected task types.

        Raises:
            TaskNotFoundError: There is no such split, or it has no such questions.
        """
        split = self._split if split is None else split
        if not isinstance(split, str):
            raise TaskNotFoundError(f"A split must be a string, got {shortened(split)}.")
        ids = self._questions.task_ids(split)
        if self._task_types is None:
            return ids
        if split not in self._chosen:
            types = {task_id: self.task_type(task_id) for task_id in ids}
            if self._task_types.isdisjoint(types.values()):
                raise TaskNotFoundError(
                    f"Split {split!r} has no questions of the task type(s) {shortened(sorted(self._task_types))}; "
                    f"it has {', '.join(sorted({*types.values()}))}."
                )
            self._chosen[split] = tuple(task_id for task_id in ids if types[task_id] in self._task_types)
        return self._chosen[split]

    def task_type(self, task_id: str) -> str:
        """Task type of an id.

        Raises:
            TaskNotFoundError: There is no such question.
        """
        return self._questions.load(task_id).task_type

    def task_group(self, task_id: str) -> str:
        """The question itself, or the entities of an embedded question.

        Raises:
            TaskNotFoundError: There is no such question.
        """
        return self._questions.load(task_id).group

    @property
    def _questions(self) -> QuestionSource:
        if self._source is None:
            path = self._questions_path
            if path is None:
                self._source = EmbeddedQuestions("plain" if self._plain else "invented")
            else:
                self._source = open_questions(path, self._holdout)
        return self._source

    def _load_task(self, task_id: str) -> Task:
        question = self._questions.load(task_id)
        return Task(task_id, question.task_type, question.split, question.text)

    def _begin(self, task: Task) -> Turn:
        self._question = self._questions.load(task.task_id)
        self._searches = 0
        if self._retriever is None and self._spec.is_local:
            # Opened now and not by the first search, so that a bad corpus does not fail in the middle of an episode.
            self._retriever = shared_retriever(self._spec)
        return self._turn_with(task.goal, True)

    def _act(self, action: str) -> Turn:
        call = read_call(action)
        if call.kind == "answer":
            return self._answered(call.text, call.valid)
        if call.kind == "none" or not call.text:
            return self._turn_with(NOT_UNDERSTOOD, False)
        if self._turn + 1 >= self.max_steps:
            return self._turn_with(OUT_OF_TURNS, call.valid)
        if self._retriever is None:
            self._retriever = shared_retriever(self._spec)
        found = self._retriever.search(query_of(call.text), self._topk)
        self._searches += 1
        return self._turn_with(information(passage.contents for passage in found), call.valid)

    def _answered(self, answer: str, valid: bool) -> Turn:
        golden = self.question.golden
        won = exact_match(answer, golden)
        return Turn(
            observation="",
            reward=self._success_reward if won else 0.0,
            terminated=True,
            action_valid=valid,
            admissible_actions=(),
            score=float(won),
            won=won,
            extra=self._extra(float(won), f1(answer, golden), answer),
        )

    def _turn_with(self, observation: str, valid: bool) -> Turn:
        return Turn(observation, 0.0, False, valid, (), 0.0, False, self._extra(0.0, 0.0, ""))

    def _extra(self, em: float, overlap: float, answer: str) -> dict[str, Any]:
        source = self.question.source
        return {"data_source": source, "em": em, "f1": overlap, "answer": answer, "searches": self._searches}

    def __getstate__(self) -> dict[str, Any]:
        # The receiving process opens its own shared questions and index.
        return {**self.__dict__, "_source": None, "_retriever": None}

    def close(self) -> None:
        """Drop the running episode; may be called twice. The index stays open for other environments."""
        self._question = None
        self._retriever = None
        self._ended = True
