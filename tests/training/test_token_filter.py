"""Token filter: with `distill.tokens=action` the tokens of the action are distilled, and no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_episodes import (  # pyright: ignore[reportMissingImports]
    SDAR,
    batch_of,
    pipeline_of,
    with_teacher,
)

from sdar_gym.policy.load import load_tokenizer
from sdar_gym.rollout.trajectory import Episode, TurnRecord
from sdar_gym.training.collate import DISTILL, INPUT_IDS, RESPONSE_POSITION, WEIGHT

ACTIONS = SDAR.changed({"distill": {"tokens": "action"}})


def answered(member: int, thought: str, action: str) -> Episode:
    """An episode of one turn whose response has a thought, tags, an action and the end token."""
    tokenizer = load_tokenizer("builtin:tiny")
    text = f"{thought}<action>{action}</action>"
    ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    turn = TurnRecord("o", text, action, True, True, 0.0, ids, [-0.1] * len(ids), 0)
    episode = Episode(f"1/{member}", 1, "t", "kind", "train", "goal", won=member == 0)
    episode.add_turn(turn, [5, 6], [7, 5, 6])
    return episode


EPISODES = [answered(0, "the desk is near ", "go to desk 1"), answered(1, "I look ", "look")]


def test_only_the_tokens_of_the_action_are_distilled() -> None:
    tokenizer = load_tokenizer("builtin:tiny")
    pipeline = pipeline_of(ACTIONS, tokenizer=tokenizer)
    batch = pipeline.prepare(EPISODES, 0)
    batch = pipeline.shape(with_teacher(batch, batch.student_logp_BT - 1.0), 0)
    columns, rows = pipeline.collate(batch, 0, row_multiple=1, shuffle_seed="a")
    assert rows == 2
    texts = set()
    for row in range(rows):
        chosen = columns[RESPONSE_POSITION][row][columns[DISTILL][row].astype(bool)]
        texts.add(tokenizer.decode(columns[INPUT_IDS][row][chosen]).strip())
    assert texts == {"go to desk 1", "look"}
    everything = pipeline_of(SDAR)
    whole = everything.shape(with_teacher(batch_of(EPISODES), batch.student_logp_BT - 1.0), 0)
    other, _ = everything.collate(whole, 0, row_multiple=1, shuffle_seed="a")
    # The policy gradient still counts every token, and a distilled one weighs what it did.
    np.testing.assert_array_equal(columns[WEIGHT], other[WEIGHT])
    assert other[DISTILL].sum() > columns[DISTILL].sum()


def test_actions_cannot_be_found_without_a_tokenizer() -> None:
    with pytest.raises(ValueError, match="needs the policy's tokenizer"):
        pipeline_of(ACTIONS).prepare(EPISODES, 0)
    batch = batch_of(EPISODES)
    with pytest.raises(ValueError, match="call `with_actions` first"):
        batch.distilled_BT(ACTIONS)
    assert replace(batch, action_BT=batch.response_mask_BT).distilled_BT(ACTIONS).sum() == batch.tokens
