"""A gradient step on append-only sequences is the step on the same turns as rows with the whole prefix as prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import learner_metrics, learner_of, small_config  # pyright: ignore[reportMissingImports]
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.rollout.trajectory import Episode, ResponseSpan, TokenSequence, TurnRecord

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]
Build = Callable[[SDARConfig], SDAR]
TURNS = 3


@pytest.fixture(autouse=True)
def _double_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms in double precision: `transformers` computes them in single, which amplifies the last digit to 1e-8."""

    def forward(self: Any, hidden: torch.Tensor) -> torch.Tensor:
        return self.weight * hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    monkeypatch.setattr(Qwen3RMSNorm, "forward", forward)


def records(rng: np.random.Generator, won: bool) -> list[TurnRecord]:
    """Three turns with responses of two to six tokens and log-probabilities near those of the tiny policy."""
    made = []
    for number in range(TURNS):
        ids = rng.integers(5, 300, rng.integers(2, 7)).tolist()
        logp = (-6.5 + 0.2 * rng.standard_normal(len(ids))).tolist()
        reward = float(won and number + 1 == TURNS)
        made.append(TurnRecord(f"{rng.integers(1000)}", "r", "a", True, number != 1, reward, ids, logp, 0))
    return made


def episodes(*, append_only: bool) -> list[Episode]:
    """Two groups of three, the same tokens either way; one of each group succeeds."""
    made = []
    for group in range(2):
        for member in range(3):
            rng, won = np.random.default_rng([group, member]), member == group
            episode = Episode(
                f"{group}/{member}", group, f"task {group}", "kind", "train", "goal", won=won, score=float(won)
            )
            turns = records(rng, won)
            ids, spans = [], []
            for number, turn in enumerate(turns):
                ids += rng.integers(5, 300, 4 + 3 * number).tolist()
                spans.append(ResponseSpan(number, len(ids), len(ids) + len(turn.response_ids)))
                ids += turn.response_ids
            sequence = TokenSequence(ids, spans)
            # The privileged context comes first, so that it is before every response.
            skills = rng.integers(5, 300, 5).tolist()
            sequence.teacher_ids = sequence.behind([*skills, *sequence.prompt_ids])
            if append_only:
                episode.turns, episode.sequences = turns, [sequence]
            else:
                for turn, span in zip(turns, spans, strict=True):
                    prompt = ids[: span.start]
                    episode.add_turn(turn, prompt, [*skills, *prompt])
            made.append(episode)
    return made


def update(
    algorithm: SDAR, played: Sequence[Episode], step: int = 0
) -> tuple[list[torch.Tensor], dict[str, float], int]:
    """One update without its effect: the gradients of its steps, the learner's metrics, and the number of rows."""
    learner, gradients = learner_of(algorithm), []

    def note(given: dict[Any, torch.Tensor]) -> None:
        gradients.append(torch.cat([gradient.flatten().clone() for gradient in given.values()]))

    learner.apply_gradients = note
    pipeline, config = algorithm.pipeline, algorithm.config
    shards = config.training_settings.num_minibatches
    batch = pipeline.shape(pipeline.score(pipeline.prepare(played, step), step), step)
    columns, rows = pipeline.collate(batch, step, row_multiple=shards, shuffle_seed="a")
    (result,) = algorithm._update_learners(columns, len(batch.turns), shards, step)
    return gradients, {name: float(value) for name, value in result["default_policy"].items()}, rows


# Plain and gated, gates that compare the tokens of a turn, a shaped advantage, distributions, and means within turns.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("grpo", {}),
    ("sdar", {}),
    ("grpo", {"aggregation": "sequence_mean"}),
    ("icsd", {}),
    ("pcsd", {}),
    ("rlsd", {}),
    ("frozen_ce", {"entropy_coeff": 0.01}),
    ("allfail_ce", {"distill": {"support": "topk", "k": 4, "groups": "all"}}),
]


@pytest.mark.parametrize("micro_batch_tokens", [10_000, 60])
@pytest.mark.parametrize(("method", "objective"), CASES, ids=[f"{name}-{len(change)}" for name, change in CASES])
def test_the_step_is_that_of_separate_rows(
    method: str, objective: dict[str, Any], micro_batch_tokens: int, build: Build
) -> None:
    config = small_config(method, objective=objective, grad_clip=1e9, micro_batch_tokens=micro_batch_tokens)
    algorithm = build(config.policy(dtype="float64"))
    (whole,), metrics, rows = update(algorithm, episodes(append_only=True))
    (separate,), expected, more = update(algorithm, episodes(append_only=False))
    assert (rows, more) == (6, 18)
    largest = float(separate.abs().max())
    assert largest > 1e-4
    torch.testing.assert_close(whole, separate, rtol=1e-7, atol=1e-10 * largest)
    assert metrics.keys() == expected.keys() >= {"policy_loss", "weight", "entropy", "ratio_max"}
    for name in {"policy_loss", "weight", "kl", "entropy", "clip_fraction", "ratio_max", "distill_loss", "gate_mean"}:
        if name not in expected:
            continue
        assert metrics[name] == pytest.approx(expected[name], rel=1e-6, abs=1e-12), name


def test_the_cases_have_different_gradients(build: Build) -> None:
    gradients = []
    for method, objective in CASES[:6]:
        config = small_config(method, objective=objective, grad_clip=1e9).policy(dtype="float64")
        gradients.append(update(build(config), episodes(append_only=True))[0][0])
    for one in range(len(gradients)):
        for other in range(one):
            assert (gradients[one] - gradients[other]).abs().max() > 1e-5 * gradients[one].abs().max()


def test_recomputed_log_probabilities_make_the_first_step_on_policy(build: Build) -> None:
    ratios = {}
    for old_logp in ("sampler", "learner"):
        config = small_config("grpo", old_logp=old_logp, num_minibatches=1).policy(dtype="float64")
        algorithm = build(config)
        for append_only in (True, False):
            _, metrics, _ = update(algorithm, episodes(append_only=append_only))
            ratios[old_logp, append_only] = (metrics["ratio_max"], metrics["approx_kl"])
    for append_only in (True, False):
        assert ratios["learner", append_only] == pytest.approx((1.0, 0.0), abs=1e-6)
        assert ratios["sampler", append_only][0] > 1.1


def test_training_takes_append_only_episodes_of_an_engine(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole update with optimizer step, diagnostics and weights, from sequences with several responses."""
    algorithm = build(small_config("sdar", group_size=3))
    monkeypatch.setattr(algorithm._dispatcher, "collect", lambda *_, **__: episodes(append_only=True))
    result = algorithm.train()
    assert (result["env_runners"]["turns"], result["env_runners"]["rows"]) == (18, 6)
    assert learner_metrics(result)["weight"] == pytest.approx(1.0)
    assert result["teacher"]["taught/all"] == 1
    dump = algorithm.last_tokens
    assert dump is not None and len(dump.values["gap"]) == 18
    assert replace(dump).values["gap"].nan_to_num().abs().max() > 0.01
