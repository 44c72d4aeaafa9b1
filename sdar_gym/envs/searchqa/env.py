"""`sdar/SearchQA-v0`: questions to be answered by searching passages, a query a turn."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from gymnasium.envs.registration import EnvSpec

from sdar_gym.envs.searchqa.generator import EmbeddedQuestions
from sdar_gym.envs.searchqa.local_index import EMBEDDED
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
from sdar_gym.validation import finite_number, whole_number


class SearchQAEnv(TextEnv):
    """Search-QA: answer a question by searching passages.

    Task:
        One question. Search for passages, as often as the turns allow, then answer in a few words. The embedded
        questions are about a generated world, so that nothing but search can answer them: `one_hop`, `two_hop` (the
        first passage names what to look up next) and `comparison` (two passages). Real questions are of the type that
        their set is called: `nq`, `triviaqa`, `popqa`, `hotpotqa`, `2wikimultihopqa`, `musique`, `bamboogle`.

        Of a file of questions these fields are read, and no others. Every answer that they name counts. A value of
        another shape is refused with file, row and field.

        - FlashRAG: `question`, `golden_answers`.
        - Search-R1: those, `reward_model.ground_truth.target` and `data_source`.
        - NQ-open: `question`, `answer`, a text or a list of texts.
        - TriviaQA: `question`, and of the object `answer` the fields `value` and `aliases`; in the authors' files, with
          rows under `Data`, `Question` and of `Answer` the fields `Value`, `Aliases` and `HumanAnswers`. Normalised
          forms add nothing, since the score normalises. Rows whose answer is withheld (`<unk>`) are refused.
        - PopQA: `question`, `possible_answers`, `obj` and `o_aliases`, as lists or as JSON in a text.
        - HotpotQA and 2WikiMultihopQA: `question`, `answer`. Their contexts, supporting facts and evidences are not
          used, nor 2Wiki's `answer_id`: the aliases that it stands for are in a file of their own.
        - MuSiQue: `question`, `answer`, `answer_aliases`. Questions with `answerable: false` are left out; their number
          is logged, and is `unanswerable` of what `open_questions` gives. Paragraphs are not used.
        - Bamboogle: `Question`, `Answer`.
        - Other files: also `answers` and `aliases`.

    Observation:
        At first the question. After a search `<information>`, a JSON object whose `result` holds the passages as
        `Doc 1: …`, `Doc 2: …`, and `</information>`.

    Action:
        `<search>query</search>` or `<answer>answer</answer>`. Text around the tags is ignored. What follows the first
        `</search>` (else `</answer>`) is cut off; of two kinds of tags the search counts, of several pairs the first.
        Such an action, one with nothing between the tags, and one without tags are not valid, and count as a turn.
        Tags are matched to the letter.

    Reward:
        `success_reward` for an exact match: the answer equals one of the golden answers in lower case, without
        punctuation, articles and extra space. Else 0. Default 1, as the reference.

    Episode end:
        Terminated by an answer, right or wrong; truncated after `max_steps` turns (4 as in the published runs). A
        search in the last turn is not made, since nobody could read what it finds.

    Info:
        `task_id, task_type, split, goal, admissible_actions, action_valid, score, won, turn`; `admissible_actions` is
        empty, since actions are open-ended. `data_source` (the set the question is from), `em` and `f1` (0 before the
        answer; `score` is `em`), `answer` (what was answered, "" before) and `searches` (searches made). Report the
        scores of real sets by `data_source`, and their unweighted mean with `reward.mean_over_sources`.

    Splits:
        `train`, `dev`, `test`, those that the questions have; a file's is read off its name. A question that occurs in
        two splits is left out of the earlier one. The splits of the embedded world ask about different people, novels,
        companies and towns.

    Arguments:
        questions: A file or folder of questions in one of the forms above: `.jsonl` (also `.jsonl.gz`), `.json` or
            `.parquet`. A relative path that does not exist is looked for in `$SDAR_GYM_DATA/searchqa`.
            Default, and `"embedded"`: the embedded world.
        corpus: The passages: a `.jsonl`, `.json` or `.parquet` file of them, or a folder made by `sdar-gym index`.
            Default: beside the questions, `<name>_corpus` with the same ending; for the embedded world its own. Its
            first passage is read when the environment is made, and all of it with the first episode: one without
            passages is refused before anything is played.
        split: The split that `reset()` draws from; default the first that there is.
        search: Where searches go. `auto`, `bm25s` or `lucene`: an index in this process, shared by all its
            environments (a folder knows its own). `ray`: a named actor, one for the whole cluster.
            `http://host:port`: a server such as `sdar-gym serve-search`; `corpus` is not used then. A user and a
            password in the address are sent and not shown. `check_ready()` makes one search, with any of them.
        topk: Passages a search shows.
        holdout: Share of the training questions that becomes the split `test`, for files that have none; at least 0
            and below 1.
        max_steps: Turn limit.
        success_reward: Reward of an exact match.
        search_timeout: Seconds for one request to a server or an actor.
        search_retries: Further attempts after a request that failed. When all have failed `step` raises
            `SearchFailedError`: a failure is never shown as an empty result. The turn did not happen, and the same step
            can be tried again.

    Differences from the reference:
        BM25 instead of dense retrieval by default; published figures were made with E5 over wiki-18, so compare with
        them only with a server of that kind. The score is that of the answer that ends the episode, not of the last
        answer tags anywhere in the text, passages included. A query is cut after 2,000 characters. An action that is
        not understood is told so. A search that fails raises instead of being shown as a result. Scores are means over
        questions, not over batches.

    Version history:
        v0: first release.
    """

    def __init__(
        self,
        questions: str | os.PathLike[str] | None = None,
        corpus: str | os.PathLike[str] | None = None,
        split: str | None = None,
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
        self._questions_path = None if questions is None or questions == EMBEDDED else located("questions", questions)
        self._holdout = check_holdout(holdout)
        if self._holdout and self._questions_path is None:
            raise ValueError("The embedded questions have a test split already, so `holdout` must be 0.")
        self._source: QuestionSource | None = None
        self._split = self._questions.splits[0] if split is None else split
        self.task_ids(self._split)  # An unknown split is refused here rather than at the first reset.
        spec = SearchSpec(search=search, timeout=search_timeout, retries=search_retries)
        place = None if spec.is_server else corpus_path(corpus, self._questions_path)
        self._spec = replace(spec, corpus=place)
        self._retriever: PassageSearch | None = None
        self._made_with: EnvSpec | None = None
        self._question: Question | None = None
        self._searches = 0

    @property
    def question(self) -> Question:
        """The question of the running episode, with its golden answers.

        Raises:
            ValueError: There is none.
        """
        if self._question is None:
            raise ValueError("No episode is running: call reset() first.")
        return self._question

    @property
    def embedded(self) -> bool:
        """Whether the questions are those about the embedded world."""
        return self._questions_path is None

    @property
    def spec(self) -> EnvSpec | None:
        """What `gymnasium.make` makes the same environment from, wherever it is called."""
        return self._made_with

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        given = {} if spec is None else spec.kwargs
        places = {"questions": self._questions_path, "corpus": self._spec.corpus}
        # A relative path, or one below $SDAR_GYM_DATA, would be another one after a change of either.
        kept = {name: place for name, place in places.items() if given.get(name) is not None and place is not None}
        self._made_with = None if spec is None else replace(spec, kwargs={**given, **kept})

    def check_ready(self) -> None:
        """Open all that only a search would open: the index, or the server or actor, which is asked once.

        Raises:
            ValueError: A search could not be made; the message says why.
        """
        check_search(self._spec, query_of(self._questions.load(self.task_ids()[0]).text), self._topk)

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that the questions have."""
        return self._questions.splits

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        """The ids of all questions of a split (default: the environment's).

        Raises:
            TaskNotFoundError: There is no such split.
        """
        split = self._split if split is None else split
        if not isinstance(split, str):
            raise TaskNotFoundError(f"A split is called by a text, got {shortened(split)}.")
        return self._questions.task_ids(split)

    def task_type(self, task_id: str) -> str:
        """The task type of an id.

        Raises:
            TaskNotFoundError: There is no such question.
        """
        return self._questions.load(task_id).task_type

    def task_group(self, task_id: str) -> str:
        """The question itself, or the things that an embedded question is about.

        Raises:
            TaskNotFoundError: There is no such question.
        """
        return self._questions.load(task_id).group

    @property
    def _questions(self) -> QuestionSource:
        if self._source is None:
            path = self._questions_path
            self._source = EmbeddedQuestions() if path is None else open_questions(path, self._holdout)
        return self._source

    def _load_task(self, task_id: str) -> Task:
        question = self._questions.load(task_id)
        return Task(task_id, question.task_type, question.split, question.text)

    def _begin(self, task: Task) -> Turn:
        self._question = self._questions.load(task.task_id)
        self._searches = 0
        if self._retriever is None and self._spec.is_local:
            # Now and not at the first search: what is wrong with a corpus is not found in the middle of an episode.
            self._retriever = shared_retriever(self._spec)
        return self._shown(task.goal, True)

    def _act(self, action: str) -> Turn:
        call = read_call(action)
        if call.kind == "answer":
            return self._answered(call.text, call.valid)
        if call.kind == "none" or not call.text:
            return self._shown(NOT_UNDERSTOOD, False)
        if self._turn + 1 >= self.max_steps:
            return self._shown(OUT_OF_TURNS, call.valid)
        if self._retriever is None:
            self._retriever = shared_retriever(self._spec)
        found = self._retriever.search(query_of(call.text), self._topk)
        self._searches += 1
        return self._shown(information(passage.contents for passage in found), call.valid)

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

    def _shown(self, observation: str, valid: bool) -> Turn:
        return Turn(observation, 0.0, False, valid, (), 0.0, False, self._extra(0.0, 0.0, ""))

    def _extra(self, em: float, overlap: float, answer: str) -> dict[str, Any]:
        source = self.question.source
        return {"data_source": source, "em": em, "f1": overlap, "answer": answer, "searches": self._searches}

    def __getstate__(self) -> dict[str, Any]:
        # Questions and index are found again where this is opened; other processes share their own.
        return {**self.__dict__, "_source": None, "_retriever": None}

    def close(self) -> None:
        """Drop the running episode; closing twice is fine. The index stays open for the other environments."""
        self._question = None
        self._retriever = None
        self._ended = True
