"""The skill reader: it does what the skill in its prompt says, and the warm start trains on exactly that."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from warm_configs import ALFWORLD, TALK, warm_config  # pyright: ignore[reportMissingImports]

from sdar_gym.configs.schema import RunConfig
from sdar_gym.policy.load import load_tokenizer
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.warmstart.demonstrations import demonstrate
from sdar_gym.warmstart.demonstrator import DemonstrationError, Demonstrator
from sdar_gym.warmstart.run import check_warm_start
from sdar_gym.warmstart.skill_reader import SkillReader

READER = "warmstart.play=skill_reader"


def played(run: RunConfig, count: int) -> list[tuple[Episode, str, str]]:
    """Episodes, each with the skill of its prompts and the text of its first prompt."""
    tokenizer, env = load_tokenizer(run.policy.model), make_env(run.env, run.env_config)
    demonstrator = Demonstrator(run, tokenizer, env)
    found = []
    for task_id in env.task_ids()[:count]:
        episode = demonstrator.episode(task_id)
        assert episode is not None and isinstance(demonstrator._policy, SkillReader)
        sequence = episode.sequences[0]
        found.append((episode, demonstrator._policy.skill, tokenizer.decode(sequence.ids[: sequence.spans[0].start])))
    env.close()
    return found


@pytest.mark.parametrize("context", [(), (*TALK, "rollout.max_context_tokens=40000")], ids=["window", "conversation"])
def test_the_prompt_has_the_skill_that_the_actions_follow(policy_folder: Path, context: tuple[str, ...]) -> None:
    episodes = played(warm_config(policy_folder, ALFWORLD, READER, *context), 24)
    ends = Counter((episode.ended, bool(skill)) for episode, skill, _ in episodes)
    # A made-up skill and a wrong guess do not win, and are trained on too.
    assert set(ends) == {("won", True), ("won", False), ("truncated", True), ("truncated", False)}
    for episode, skill, prompt in episodes:
        assert (skill in prompt) if skill else ("Advice that helped" not in prompt)
        actions = [turn.action for turn in episode.turns]
        assert episode.won or len(actions) == 20 or actions[-2:] == ["look", "look"]
        if "heat it with the " in skill and episode.task_type == "pick_heat_then_place_in_recep":
            device = skill.split("heat it with the ")[1].split(",")[0]
            assert any(action.startswith("heat ") and f"with {device} " in action for action in actions)


def test_the_draws_follow_from_seed_and_task(policy_folder: Path) -> None:
    run = warm_config(policy_folder, ALFWORLD, READER)
    tokenizer = load_tokenizer(run.policy.model)
    first, again = demonstrate(run, tokenizer), demonstrate(run, tokenizer)
    assert first.digest() == again.digest() and not first.cut and not first.unsolved
    other = demonstrate(warm_config(policy_folder, ALFWORLD, READER, "seed=5"), tokenizer)
    assert other.digest() != first.digest()


def test_other_environments_are_refused_before_the_work(policy_folder: Path) -> None:
    with pytest.raises(DemonstrationError, match=r"skill_reader is there for sdar/ALFWorld-v0 only.*play=expert"):
        check_warm_start(warm_config(policy_folder, "sdar/WebShop-v0", READER))
    env = make_env("sdar/SearchQA-v0", {})
    with pytest.raises(TypeError, match="plays ALFWorldEnv"):
        SkillReader().begin(env, "", {})
    env.close()
