"""Skill retrieval in the collector: ids and scores in each episode, coverage warnings, learned states."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.rollout.build import build_collector
from sdar_gym.rollout.collector import Collector, EpisodeRequest
from sdar_gym.rollout.engines import Engine, GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.metrics import coverage
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.skills import (
    Retriever,
    SkillCoverageWarning,
    SkillLibrary,
    SkillQuery,
    make_retriever,
)
from sdar_gym.skills.strategies.controls import NoRetriever
from sdar_gym.skills.strategies.ucb import UcbRetriever
from sdar_gym.skills.warnings import _WARNED

ENV = "sdar/ALFWorld-v0"
TASK = "small/train/000000"
PARAMS = SamplingParams(24)
ALL = SkillLibrary.builtin("alfworld")


@pytest.fixture(autouse=True)
def _nothing_warned() -> Iterator[None]:
    _WARNED.clear()
    yield
    _WARNED.clear()


class Looker(Engine):
    """An engine that always looks."""

    def __init__(self, tokenizer: Any):
        self.stop_ids = (tokenizer.eos_token_id,)
        self.answer = [*tokenizer.encode("<action>look</action>", add_special_tokens=False), tokenizer.eos_token_id]

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[GenerationResult]:
        return [GenerationResult(self.answer, [-0.5] * len(self.answer), "stop", 1) for _ in requests]

    def update_weights(self, state_dict: Any, version: int) -> None:
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        return {}


def collector_of(tokenizer: Any, retriever: Retriever) -> Collector:
    config = {"games": "generated", "scene": "small", "max_steps": 1}
    engine: Any = Looker(tokenizer)
    return build_collector(
        engine, tokenizer, ENV, config, RolloutSettings(), retriever, teacher_prompts=True, skills_in_prompt=False
    )


def played(tokenizer: Any, retriever: Retriever, count: int = 1) -> list[Episode]:
    requests = [EpisodeRequest(TASK, 0, member, 0) for member in range(count)]
    return collector_of(tokenizer, retriever).collect(requests, PARAMS)


def without(task_type: str) -> SkillLibrary:
    return SkillLibrary("holes", tuple(skill for skill in ALL if not skill.applies_to(task_type)))


@pytest.mark.parametrize("strategy", ["bm25", "oracle_type", "ucb"])
def test_an_episode_tells_ids_scores_and_how_they_were_found(tokenizer: Any, strategy: str) -> None:
    retriever = make_retriever(strategy, ALL, k=2)
    (episode,) = played(tokenizer, retriever)
    found = retriever.retrieve(SkillQuery("alfworld", episode.task_type, episode.goal))
    assert episode.skills == found.ids
    assert episode.skill_scores == tuple(scored.score for scored in found.skills)
    assert len(episode.skills) == len(ALL.general()) + 2
    written = json.loads(json.dumps(episode.to_json(), allow_nan=False))
    assert (written["skill_strategy"], written["skill_backend"]) == (strategy, found.backend)
    assert found.backend == ("bm25s" if strategy == "bm25" else "none")
    expected = {"oracle_type": [0.0, 0.0], "ucb": [None, None]}
    last = written["skill_scores"][-2:]
    assert last == expected[strategy] if strategy in expected else last[0] >= last[1] > 0


def test_no_skills_no_scores(tokenizer: Any) -> None:
    (episode,) = played(tokenizer, NoRetriever())
    written = episode.to_json()
    assert (written["skills"], written["skill_scores"], written["skill_strategy"]) == ([], [], "none")


def test_a_coverage_gap_is_warned_about_once_per_type_and_process(tokenizer: Any) -> None:
    (episode,) = played(tokenizer, NoRetriever())
    retriever = make_retriever("oracle_type", without(episode.task_type))
    with pytest.warns(SkillCoverageWarning) as told:
        (first, second) = played(tokenizer, retriever, 2)
    assert (first.skills_specific, second.skills_specific) == (False, False)
    (message,) = [str(warning.message) for warning in told]
    others = ", ".join(without(episode.task_type).task_types)
    for part in (
        "'oracle_type' found no skill",
        f"task type {episode.task_type!r} of 'alfworld'",
        f"library 'holes' has skills for: {others}.",
        f"Add {episode.task_type}.md",
        "use the strategy 'none'",
    ):
        assert part in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        played(tokenizer, make_retriever("oracle_type", without(episode.task_type)))
    # Another strategy is another run.
    with pytest.warns(SkillCoverageWarning, match="'bm25'"):
        played(tokenizer, make_retriever("bm25", without(episode.task_type)))


def test_random_retrieval_may_miss_what_the_library_has(tokenizer: Any) -> None:
    (episode,) = played(tokenizer, NoRetriever())
    retrievers = (make_retriever("random", ALL, k=1, seed=seed) for seed in range(100))
    query = SkillQuery("alfworld", episode.task_type, episode.goal)
    retriever = next(drawn for drawn in retrievers if not drawn.retrieve(query).specific)
    assert played(tokenizer, retriever)[0].skills_specific is False
    with pytest.warns(SkillCoverageWarning, match="'random' found no skill"):
        played(tokenizer, make_retriever("random", without(episode.task_type)))


def test_a_strategy_that_misses_what_the_library_has_says_so(tokenizer: Any) -> None:
    class Wrong(UcbRetriever):
        """Believes that every task is of another type."""

        def _pick(self, query: SkillQuery) -> Any:
            return super()._pick(SkillQuery(query.env, "look_at_obj_in_light", query.goal))

    (episode,) = played(tokenizer, NoRetriever())
    assert episode.task_type != "look_at_obj_in_light"
    has = len(ALL.for_task_type(episode.task_type))
    with pytest.warns(SkillCoverageWarning, match=rf"although the library 'alfworld' has {has} \(here for the goal "):
        played(tokenizer, Wrong(ALL, k=1))


def test_what_a_master_learned_serves_the_next_episodes(tokenizer: Any) -> None:
    def fresh() -> UcbRetriever:
        return UcbRetriever(ALL, k=1, include_general=False)

    master, collector = fresh(), collector_of(tokenizer, fresh())

    def collect() -> list[Episode]:
        return collector.collect([EpisodeRequest(TASK, 0, member, 0) for member in range(3)], PARAMS)

    first = collect()
    assert len({episode.skills for episode in first}) == 1
    for episode in first:
        master.observe(episode.task_type, episode.skills, episode.score)
    assert collect()[0].skills == first[0].skills
    collector.set_retriever_state(json.loads(json.dumps(master.get_state())))
    second = collect()
    assert len({episode.skills for episode in second}) == 1
    assert second[0].skills != first[0].skills


def test_a_state_for_what_does_not_learn_is_refused(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="'bm25' learns nothing and takes no state"):
        collector_of(tokenizer, make_retriever("bm25", ALL)).set_retriever_state({})


def episode(task_type: str, specific: bool | None) -> Episode:
    return Episode("0/0", 0, "t", task_type, "train", "g", skills_specific=specific)


def test_coverage_is_a_share_over_all_and_by_type() -> None:
    episodes = [episode("b", True), episode("b", False), episode("b", True), episode("a", False), episode("c", None)]
    assert coverage(episodes) == {
        "skill_coverage": 0.5,
        "skill_coverage/a": 0.0,
        "skill_coverage/b": pytest.approx(2 / 3),
    }
    assert coverage([episode("c", None)]) == coverage([]) == {}
