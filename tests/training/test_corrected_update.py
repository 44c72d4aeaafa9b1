"""The importance correction in the update pipeline: weights, denominators, merged rows and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

import pytest
import torch
from made_episodes import (  # pyright: ignore[reportMissingImports]
    batch_of,
    episode,
    failed,
    numbers_of,
    pipeline_of,
    played,
    turn,
)

from sdar_gym.algorithms.losses.total import TokenBatch, compute_loss
from sdar_gym.algorithms.methods import get_method
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.training.collate import (
    ADVANTAGE,
    IMPORTANCE,
    INPUT_IDS,
    OLD_LOGP,
    RESPONSE_MASK,
    WEIGHT,
    Columns,
    loss_weights,
)
from sdar_gym.training.turn_batch import TurnBatch

GRPO = get_method("grpo").objective
# Learner to sampler of the tokens of some turns, by the turn's number; of all others 1. The nine turns have 22 tokens.
RATIOS = {1: [3.0, 1.0], 3: [0.25, 1.5, 1.0, 1.0], 4: [4.0]}
TOKENS = 22


class NearSampler:
    """A score function: the learner's log-probabilities, which differ from the sampler's by `RATIOS`."""

    def __init__(self, ratios: Mapping[int, Sequence[float]] = RATIOS) -> None:
        self.ratios = ratios

    def __call__(self, columns: Columns, names: Sequence[str]) -> Mapping[str, torch.Tensor]:
        mask = torch.from_numpy(columns[RESPONSE_MASK])
        logp = torch.full(mask.shape, torch.nan, dtype=torch.float64)
        for row, number in enumerate(columns[INPUT_IDS][:, 0].tolist()):
            length = int(mask[row].sum())
            ratios = self.ratios.get(number, [1.0] * length)
            assert len(ratios) == length
            for place, ratio in enumerate(ratios):
                logp[row, place] = -0.01 * number - 0.1 * place + log(ratio)
        return {"student": logp, "entropy": torch.ones_like(logp)}


def scored(mode: str, objective: Objective = GRPO, episodes: Any = None, **settings: Any) -> tuple[Any, TurnBatch]:
    dtype = settings.pop("dtype", torch.float64)
    score = NearSampler(settings.pop("ratios", RATIOS))
    pipeline = pipeline_of(
        objective, score, old_logp="learner", importance_correction=mode, importance_cap=2.0, dtype=dtype
    )
    batch = batch_of(played() if episodes is None else episodes, objective, dtype=dtype)
    return pipeline, pipeline.shape(pipeline.score(batch, 0), 0)


def by_number(batch: TurnBatch, value_BT: torch.Tensor) -> dict[int, list[float]]:
    return {number: value_BT[row][batch.response_mask_BT[row]].tolist() for row, number in enumerate(numbers_of(batch))}


EXPECTED: list[tuple[str, dict[int, list[float]], int, int, float]] = [
    # Mode, importance weights other than 1, tokens and turns in the loss, share of the tokens that were corrected.
    ("token_truncate", {1: [2.0, 1.0], 3: [0.25, 1.5, 1.0, 1.0], 4: [2.0]}, 22, 9, 2 / 22),
    ("token_mask", {1: [0.0, 1.0], 3: [0.0, 1.5, 1.0, 1.0], 4: [0.0]}, 19, 8, 3 / 22),
    ("sequence_truncate", {1: [2.0, 2.0], 3: [0.375] * 4, 4: [2.0]}, 22, 9, 3 / 22),
    ("sequence_mask", {1: [0.0, 0.0], 3: [0.0] * 4, 4: [0.0]}, 15, 6, 7 / 22),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
@pytest.mark.parametrize(("mode", "weights", "tokens", "turns", "corrected"), EXPECTED)
def test_weights_and_denominators_hand_computed(
    mode: str,
    weights: dict[int, list[float]],
    tokens: int,
    turns: int,
    corrected: float,
    aggregation: str,
    dtype: torch.dtype,
) -> None:
    objective = get_method("grpo").with_overrides({"aggregation": aggregation}).objective
    _, batch = scored(mode, objective, dtype=dtype)
    assert batch.tokens == TOKENS and batch.importance_BT is not None and batch.importance_BT.dtype == dtype
    found, mean = by_number(batch, batch.importance_BT), by_number(batch, loss_weights(batch, objective))
    for number in range(1, 10):
        importance = weights.get(number, [1.0] * len(found[number]))
        assert found[number] == pytest.approx(importance, rel=1e-5)
        kept = sum(weight > 0 for weight in importance)
        per_token = 1 / tokens if aggregation == "token_mean" else 1 / (turns * max(1, kept))
        assert mean[number] == pytest.approx([per_token * (weight > 0) for weight in importance], rel=1e-6)
    assert float(loss_weights(batch, objective).sum()) == pytest.approx(1.0, rel=1e-6)
    assert not batch.importance_BT[~batch.response_mask_BT].any()
    if aggregation == "token_mean":
        kl = (2 - log(3)) + (-0.75 + log(4)) + (0.5 - log(1.5)) + (3 - log(4))
        expected = {
            "mismatch_kl": kl / TOKENS,
            "mismatch_ratio_max": 4.0,
            "mismatch_ratio_min": 0.25,
            "mismatch_corrected_fraction": corrected,
        }
        assert batch.mismatch == pytest.approx(expected, rel=1e-4)


def loss_of(objective: Objective, columns: Columns) -> Any:
    """The loss at the start of the update, when the current log-probabilities are the recomputed ones."""
    tensors = {name: torch.from_numpy(column) for name, column in columns.items()}
    logp_BT = tensors[OLD_LOGP].clone().requires_grad_()
    tokens = TokenBatch(
        logp_BT=logp_BT,
        old_logp_BT=tensors[OLD_LOGP],
        advantage_BT=tensors[ADVANTAGE],
        response_mask_BT=tensors[RESPONSE_MASK],
        weight_BT=tensors[WEIGHT],
        importance_BT=tensors.get(IMPORTANCE),
    )
    objective = get_method("grpo").with_overrides({"kl_coeff": 0.0, "entropy_coeff": 0.0}).objective
    output = compute_loss(objective, tokens)
    output.loss.backward()
    return output, logp_BT.grad


@pytest.mark.parametrize("row_multiple", [1, 4])
@pytest.mark.parametrize(("mode", "weights", "tokens"), [each[:3] for each in EXPECTED])
def test_the_loss_is_the_weighted_mean_over_the_tokens_that_are_left(
    mode: str, weights: dict[int, list[float]], tokens: int, row_multiple: int
) -> None:
    pipeline, batch = scored(mode)
    columns, _ = pipeline.collate(batch, 0, row_multiple=row_multiple, shuffle_seed="a")
    output, gradient = loss_of(GRPO, columns)
    expected = 0.0
    for row, number in enumerate(numbers_of(batch)):
        length = int(batch.response_mask_BT[row].sum())
        # At ratio one the loss of a token is minus its advantage.
        expected -= sum(weights.get(number, [1.0] * length)) * float(batch.base_advantage_B[row]) / tokens
    assert float(output.metrics["policy_loss"]) == pytest.approx(expected, rel=1e-9)
    assert abs(expected) > 1e-3
    # The gradient of a token is the negative of its weight and advantage.
    assert float(gradient.sum()) == pytest.approx(expected, rel=1e-9)
    assert float(output.metrics["weight"]) == pytest.approx(1.0)


def test_off_measures_and_changes_nothing() -> None:
    pipeline, batch = scored("off")
    assert batch.importance_BT is None
    assert batch.mismatch["mismatch_ratio_max"] == pytest.approx(4.0)
    assert batch.mismatch["mismatch_corrected_fraction"] == 0.0
    columns, _ = pipeline.collate(batch, 0, row_multiple=1, shuffle_seed="a")
    assert IMPORTANCE not in columns
    assert loss_weights(batch, GRPO)[batch.response_mask_BT].tolist() == pytest.approx([1 / TOKENS] * TOKENS)


def test_the_sampler_s_own_log_probabilities_need_no_scores_and_no_correction() -> None:
    pipeline = pipeline_of(GRPO)  # Fails if it asks for scores.
    batch = pipeline.score(batch_of(played(), GRPO), 0)
    assert batch.importance_BT is None and batch.mismatch == {}


def test_a_mask_that_leaves_out_everything_leaves_no_loss() -> None:
    ratios = {number: [9.0] * (1 + number % 4) for number in range(1, 10)}
    for aggregation in ("token_mean", "sequence_mean"):
        objective = get_method("grpo").with_overrides({"aggregation": aggregation}).objective
        pipeline, batch = scored("token_mask", objective, ratios=ratios)
        assert batch.mismatch["mismatch_corrected_fraction"] == pytest.approx(1.0)
        output, gradient = loss_of(objective, pipeline.collate(batch, 0, row_multiple=1, shuffle_seed="a")[0])
        assert output.loss.item() == 0.0 and not gradient.any()


def test_equal_rows_with_other_importance_weights_are_not_merged() -> None:
    """Two members play the same tokens, for which the sampler gave other log-probabilities."""
    episodes = [episode(0, n, [turn(2)], won=False) for n in range(2)] + [
        episode(0, 2, [turn(3, reward=1.0)], won=True)
    ]
    episodes += failed(1, 6)
    rows = {}
    for change in (0.0, log(0.75)):
        episodes[1].turns[0].old_logp = [value + change for value in episodes[0].turns[0].old_logp]
        for mode in ("off", "token_truncate"):
            pipeline, batch = scored(mode, episodes=episodes, ratios={})
            columns, rows[mode, change] = pipeline.collate(batch, 0, row_multiple=1, shuffle_seed="a")
            assert float(columns[WEIGHT].sum()) == pytest.approx(1.0)
    assert list(rows.values()) == [4, 4, 4, 5]
