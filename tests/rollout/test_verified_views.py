"""The teacher's views where a verifier checks whole answers: reference solution, sibling's answer, feedback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import pytest

from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.envs.problems.env import ProblemEnv
from sdar_gym.rollout.build import build_collector, build_context
from sdar_gym.rollout.collector import EpisodeRequest
from sdar_gym.rollout.engines import Engine, GenerationResult, SamplingParams
from sdar_gym.rollout.privileged_context import SolutionBook, attach_teacher_prompts, requests_with_view
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.skills.strategies.controls import NoRetriever

MATH, TASK = "sdar/Math-v0", "train/arithmetic/1/000000"
ROLLOUT = RolloutSettings(prompt="window", think=True, max_prompt_tokens=4000)


class PlannedEngine(Engine):
    """Gives the answers of a list, one a request, and keeps the prompts."""

    def __init__(self, tokenizer: Any, answers: Sequence[str]):
        self._tokenizer = tokenizer
        self.stop_ids = (tokenizer.eos_token_id,)
        self.answers = list(answers)
        self.prompts: list[str] = []

    def generate(self, requests: Sequence[Any], params: SamplingParams) -> list[GenerationResult]:
        results = []
        for request in requests:
            self.prompts.append(self._tokenizer.decode(request.prompt_ids))
            ids = self._tokenizer.encode(self.answers.pop(0), add_special_tokens=False)
            ids = [*ids, self._tokenizer.eos_token_id]
            results.append(GenerationResult(ids, [-0.5] * len(ids), "stop", 1))
        return results

    def update_weights(self, state_dict: Any, version: int) -> None:
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        return {}


@pytest.fixture(scope="module")
def answers() -> tuple[str, str]:
    """A right and a wrong answer to the task."""
    env = gymnasium.make(MATH).unwrapped
    assert isinstance(env, ProblemEnv)
    env.reset(options={"task_id": TASK})
    return env.reference_answer(), env.mistaken_answers()[0]


def play(
    tokenizer: Any, answers: Sequence[str], settings: RolloutSettings = ROLLOUT, **env: Any
) -> tuple[list[Episode], PlannedEngine]:
    """One group; each answer is one episode's, or one turn's where an episode has several."""
    turns = env.get("max_steps", 1)
    engine = PlannedEngine(tokenizer, [f"<think>secret thought</think>\n{answer}" for answer in answers])
    requests = [EpisodeRequest(TASK, 0, member, 0) for member in range(len(answers) // turns)]
    return run(tokenizer, engine, requests, settings, **env), engine


def run(
    tokenizer: Any, engine: Engine, requests: Sequence[EpisodeRequest], settings: RolloutSettings, **env: Any
) -> list[Episode]:
    collector = build_collector(
        engine, tokenizer, MATH, env, settings, NoRetriever(), teacher_prompts=False, skills_in_prompt=False
    )
    try:
        return collector.collect(requests, SamplingParams(200))
    finally:
        collector.close()


def shown(
    tokenizer: Any, episodes: Sequence[Episode], view: str, settings: RolloutSettings = ROLLOUT, **env: Any
) -> list[str]:
    """The teacher's prompt of each episode's last sequence; empty without one."""
    context = build_context(tokenizer, MATH, env, settings)
    solutions = SolutionBook(MATH, env) if view == "solution" else None
    attach_teacher_prompts(episodes, view, context, env_name=MATH, solutions=solutions)
    return [
        "" if e.sequences[-1].teacher_ids is None else tokenizer.decode(e.sequences[-1].teacher_ids) for e in episodes
    ]


def test_records_keep_feedback_and_reference(tokenizer: Any, answers: tuple[str, str]) -> None:
    right, wrong = answers
    (won, lost), _ = play(tokenizer, [right, wrong])
    assert (won.won, lost.won) == (True, False)
    assert won.reference == lost.reference == right
    assert lost.turns[0].feedback is not None and "wrong" in lost.turns[0].feedback
    assert lost.to_json()["turns"][0]["feedback"] == lost.turns[0].feedback
    assert lost.to_json()["reference"] == right
    # The action is the answer without the thoughts before it.
    assert won.turns[0].action == right and "secret thought" in won.turns[0].response


def test_the_solution_is_the_environment_s_own(tokenizer: Any, answers: tuple[str, str]) -> None:
    right, wrong = answers
    episodes, _ = play(tokenizer, [right, wrong])
    for text in shown(tokenizer, episodes, "solution"):
        assert f"A correct solution of this problem:\n{right}\n\n" in text


def test_a_sibling_s_whole_answer_is_shown_and_never_one_s_own(tokenizer: Any, answers: tuple[str, str]) -> None:
    right, wrong = answers
    episodes, _ = play(tokenizer, [right, wrong, wrong])
    own, *others = shown(tokenizer, episodes, "sibling")
    assert own == "", "The only success of the group has no sibling."
    for text in others:
        prompt = text.split("<think>secret thought")[0]
        assert f"A correct answer to this problem, from another attempt:\n{right}\n\n" in prompt
        assert "secret" not in prompt


def test_feedback_is_what_the_verifier_said_of_this_very_answer(tokenizer: Any, answers: tuple[str, str]) -> None:
    episodes, _ = play(tokenizer, answers)
    for episode, text in zip(episodes, shown(tokenizer, episodes, "feedback"), strict=True):
        assert f"What checking an attempt at this problem found:\n{episode.turns[0].feedback}\n\n" in text


def test_feedback_stands_in_where_no_sibling_won(tokenizer: Any, answers: tuple[str, str]) -> None:
    right, wrong = answers
    episodes, _ = play(tokenizer, [right, wrong])
    own, other = shown(tokenizer, episodes, "sibling_or_feedback")
    assert "What checking an attempt" in own and "from another attempt" not in own
    assert "from another attempt" in other and "What checking an attempt" not in other


@pytest.mark.parametrize("context", ["window", "conversation"])
def test_each_turn_has_the_feedback_on_its_own_answer(tokenizer: Any, answers: tuple[str, str], context: str) -> None:
    right, wrong = answers
    settings = RolloutSettings(prompt="window", think=True, max_prompt_tokens=4000, context=context, window=1)
    (episode,), engine = play(tokenizer, [wrong, right], settings, max_steps=2)
    assert [turn.valid_action for turn in episode.turns] == [True, True] and episode.won
    # The agent is told what is wrong, not what the teacher is told.
    assert episode.turns[1].observation in engine.prompts[1]
    first, second = (turn.feedback for turn in episode.turns)
    assert first is not None and first != second and first not in engine.prompts[1]
    shown(tokenizer, [episode], "feedback", settings, max_steps=2)
    texts = [tokenizer.decode(sequence.teacher_ids) for sequence in episode.sequences]
    assert len(texts) == (2 if context == "window" else 1)
    assert first in texts[0] and str(second) in texts[-1]
    starts = [episode.sequences[-1].starts if s.teacher_starts is None else s.teacher_starts for s in episode.sequences]
    for sequence, places in zip(episode.sequences, starts, strict=True):
        assert sequence.teacher_ids is not None
        for span, start in zip(sequence.spans, places, strict=True):
            ids = episode.turns[span.turn].response_ids
            assert sequence.teacher_ids[start : start + len(ids)] == ids


def test_the_acting_policy_can_be_shown_what_a_teacher_sees(tokenizer: Any, answers: tuple[str, str]) -> None:
    right, wrong = answers
    episodes, _ = play(tokenizer, [right, wrong, wrong])
    assert [r.member for r in requests_with_view("sibling", episodes, 7)] == [1, 2]
    requests = requests_with_view("feedback", episodes, 7)
    assert [(r.group_id, r.member, r.seed, r.task_id) for r in requests] == [(0, n, 7, TASK) for n in range(3)]
    engine = PlannedEngine(tokenizer, [f"<think></think>{right}"] * 3)
    again = run(tokenizer, engine, requests, ROLLOUT)
    assert all(episode.won for episode in again)
    for episode, prompt in zip(episodes, engine.prompts, strict=True):
        assert f"What checking an attempt at this problem found:\n{episode.turns[0].feedback}" in prompt
    # What the policy saw is in its tokens, and in no teacher's.
    assert all(episode.sequences[0].teacher_ids is None for episode in again)
    for episode in episodes:
        episode.turns[-1].feedback = None  # As in an environment that is played step by step.
    assert requests_with_view("sibling", episodes, 7) == []
