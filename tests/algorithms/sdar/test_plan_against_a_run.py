"""The tokens of a plan against those that a run measured, with a window and as a conversation.

What the sampler read and sampled is in the run's metrics; what the learner processed is counted in its forward passes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.algorithms.sdar.gradient_share import GradientShare
from sdar_gym.configs import load_config
from sdar_gym.configs.schema import RunConfig
from sdar_gym.plan.gpus import gpu_of
from sdar_gym.plan.plan import make_plan, tokens_of_update
from sdar_gym.plan.scripted_play import play_scripted
from sdar_gym.plan.work import passes_of, update_work
from sdar_gym.policy import chunked_head, logprobs
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.training.collate import TEACHER_INPUT_IDS
from sdar_gym.training.pipeline import UpdatePipeline
from sdar_gym.training.scoring import Scorer

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]
CONTEXTS = [
    pytest.param(["rollout.context=window", "rollout.show_actions=each"], id="window"),
    pytest.param(["rollout.context=conversation", "rollout.show_actions=changes"], id="conversation"),
]
PARTS = ("prefill", "decode", "reference scores", "teacher scores", "gradient")
SHORTEST = 200
ONE_UPDATE = ["evaluation.interval=0", "evaluation.tasks=2", "evaluation.teacher_tasks=0"]
Build = Callable[[SDARConfig], SDAR]


class Replay:
    """Chooses the actions of a finished episode."""

    def __init__(self, episode: Episode):
        self._actions = iter([turn.action for turn in episode.turns])

    def begin(self, env: Any, observation: str, info: dict[str, Any]) -> None: ...

    def act(self, observation: str, info: dict[str, Any]) -> str:
        return next(self._actions)


@pytest.fixture
def processed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Tokens that the learner's forward passes process, by pass; padding left out, a shared prefix counted once."""
    counts: Counter[str] = Counter()
    state: dict[str, Any] = {"pass": "", "shared": 0}
    each, body, scored = Scorer._each, chunked_head.hidden_states, logprobs.response_tokens

    def named(self: Scorer, columns: Any, ids: str, *rest: Any, **named_rest: Any) -> Any:
        state["pass"] = "teacher scores" if ids == TEACHER_INPUT_IDS else "student and reference scores"
        try:
            return each(self, columns, ids, *rest, **named_rest)
        finally:
            state["pass"] = ""

    def shared(*arguments: Any) -> Any:
        result = body(*arguments)
        state["shared"] = result[1]
        return result

    def counted(model: Any, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor) -> Any:
        result = scored(model, ids, positions, mask)
        widths = (positions + 1).masked_fill(~mask.bool(), 0).amax(dim=1)
        tokens = int(widths.sum()) - (len(ids) - 1) * state["shared"]
        name = "gradient" if torch.is_grad_enabled() else state["pass"]
        # Rows shorter than any prompt are a check of the model against itself.
        if name and int(widths.max()) > SHORTEST:
            counts[name] += tokens
        return result

    monkeypatch.setattr(Scorer, "_each", named)
    monkeypatch.setattr(chunked_head, "hidden_states", shared)
    monkeypatch.setattr(logprobs, "response_tokens", counted)
    return counts


def first_update(run: RunConfig, build: Build) -> tuple[dict[str, Any], list[Episode]]:
    algorithm = build(SDARConfig.from_run(run).debugging(log_level="ERROR"))
    return algorithm.train()["env_runners"], algorithm.last_episodes


def tokens_of(run: RunConfig, episodes: Sequence[Episode]) -> dict[str, float]:
    passes = passes_of(run.objective, old_logp=run.training.old_logp, epochs=1, recomputed=False)
    return tokens_of_update(update_work(episodes, run.training.micro_batch_tokens or 0), passes)


def read_and_sampled(episodes: Sequence[Episode]) -> tuple[int, int]:
    """What an engine reads that keeps a conversation, all but the last sampled token, and what it samples."""
    read = sampled = 0
    for episode in episodes:
        grows, kept = len(episode.sequences) == 1, 0
        for turn in episode.turns:
            read += turn.prompt_tokens - kept
            sampled += len(turn.response_ids)
            kept = turn.prompt_tokens + len(turn.response_ids) - 1 if grows else 0
    return read, sampled


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_tokens_of_an_update_are_those_that_sampler_and_learner_processed(
    context: list[str], build: Build, processed: Counter[str], policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Measured at some updates only, so no part of a plan.
    monkeypatch.setattr(GradientShare, "is_due", lambda self, step: False)
    monkeypatch.setattr(UpdatePipeline, "ratio", lambda self, batch: batch.old_logp_BT)
    changes = [
        f"policy.model={policy_folder}",
        "policy.dtype=float32",
        "rollout.engine=transformers",
        # The test's tokenizer has 400 tokens, so that its prompts are several times longer.
        "rollout.max_prompt_tokens=4096",
        "rollout.max_response_tokens=30",
        "training.tasks_per_iteration=2",
        "training.group_size=4",
        "training.num_minibatches=1",
        "training.micro_batch_tokens=8192",
        "env_config.max_steps=5",
    ]
    run = load_config("alfworld", [*changes, *context, *ONE_UPDATE])
    measured, episodes = first_update(run, build)
    assert (measured["turns"], measured["rows"]) == (40, 40 if run.rollout.context == "window" else 8)
    planned = tokens_of(run, episodes)
    read, sampled = read_and_sampled(episodes)
    assert (planned["prefill"], planned["decode"]) == (read, sampled)
    assert sampled == measured["response_tokens"]
    if run.rollout.context == "window":
        assert read == pytest.approx(measured["prompt_tokens_mean"] * measured["turns"])
    # The learner's own passes, to the token.
    assert processed == {
        "student and reference scores": planned["student scores"] + planned["reference scores"],
        "teacher scores": planned["teacher scores"],
        "gradient": planned["gradient"],
    }


@pytest.mark.parametrize(
    "context", [pytest.param(*CONTEXTS[0].values, id="window", marks=pytest.mark.slow), CONTEXTS[1]]
)
def test_a_plan_made_before_has_the_run_between_its_two_policies(context: list[str], build: Build) -> None:
    changes = ["training.micro_batch_tokens=8192", "training.objective.kl_coeff=0.01"]
    run = load_config("quickstart", [*changes, *context, *ONE_UPDATE])
    costs = make_plan(run, gpu_of("H100"), tasks=run.training.tasks_per_iteration).contexts[run.rollout.context].cost
    _, episodes = first_update(run, build)
    measured = tokens_of(run, episodes)
    # A tiny policy's wrong responses are longer than the action alone that is planned here, by a third.
    for part in PARTS:
        assert costs["expert"].tokens[part] < measured[part] < 1.35 * costs["random"].tokens[part], part

    # Told the actions, a plan has the run's tokens but for the spelling: sampled actions may take more tokens.
    replayed = [
        play_scripted(run, Replay(episode), [episode.task_id], response_tokens=1)[0]  # pyright: ignore[reportArgumentType]
        for episode in episodes
    ]
    planned = tokens_of(run, replayed)
    for part in PARTS:
        assert planned[part] == pytest.approx(measured[part], rel=0.05), part
