"""The form of `episodes/*.jsonl`: readers of old runs depend on it."""

from __future__ import annotations

import json
import math

from sdar_gym.rollout.trajectory import Episode, TurnRecord


def turn(reward: float = 0.0, **changes: object) -> TurnRecord:
    row = TurnRecord(
        observation="You see a fridge 1.\nÜber",
        response="<action>look</action>",
        action="look",
        valid_form=True,
        valid_action=True,
        reward=reward,
        response_ids=[4, 5],
        old_logp=[-0.25, -1.0],
        weight_version=3,
    )
    for name, value in changes.items():
        setattr(row, name, value)
    return row


def episode(*turns: TurnRecord) -> Episode:
    made = Episode(
        "2/1", 2, "small/train/000001", "look", "train", "look at it.", won=True, score=1.0, ended="won",
        skills=("a", "b"), skills_specific=False, skill_scores=(1.2345678, math.inf), skill_strategy="ucb",
        skill_backend="none",
    )  # fmt: skip
    for one in turns:
        made.add_turn(one, [1, 2, 3], [1, 9, 2, 3])
    return made


def test_everything_a_reader_needs_and_no_token_ids() -> None:
    assert json.loads(json.dumps(episode(turn(), turn(1.0)).to_json())) == {
        "episode_id": "2/1",
        "group_id": 2,
        "task_id": "small/train/000001",
        "task_type": "look",
        "split": "train",
        "goal": "look at it.",
        "won": True,
        "score": 1.0,
        "reward": 1.0,
        "ended": "won",
        "skills": ["a", "b"],
        "skills_specific": False,
        "skill_scores": [1.23457, None],
        "skill_strategy": "ucb",
        "skill_backend": "none",
        "turns": [
            {
                "observation": "You see a fridge 1.\nÜber",
                "response": "<action>look</action>",
                "action": "look",
                "valid_form": True,
                "valid_action": True,
                "reward": reward,
                "prompt_tokens": 3,
                "response_tokens": 2,
                "finish_reason": "stop",
                "mean_logprob": -0.625,
            }
            for reward in (0.0, 1.0)
        ],
    }


def test_the_reward_of_an_episode_is_the_sum_of_its_turns() -> None:
    played = episode(turn(0.25), turn(-0.5), turn(1.0))
    assert played.total_reward == 0.75
    assert played.env_steps() == played.agent_steps() == 3
    assert episode().total_reward == 0


def test_admissible_actions_are_written_where_there_are_any() -> None:
    (written,) = episode(turn(admissible_actions=("look", "go to fridge 1"))).to_json()["turns"]
    assert written["admissible_actions"] == ["look", "go to fridge 1"]


def test_an_empty_answer_has_a_mean_all_the_same() -> None:
    (written,) = episode(turn(response_ids=[], old_logp=[])).to_json()["turns"]
    assert (written["response_tokens"], written["mean_logprob"]) == (0, 0.0)


def test_episodes_do_not_share_their_turns() -> None:
    first, second = (Episode("0/0", 0, "t", "k", "train", "g") for _ in range(2))
    first.add_turn(turn(), [1])
    assert second.turns == [] and second.sequences == []
