"""`TaskSequence`: given tasks in order, also with automatic resets."""

from __future__ import annotations

from functools import partial

import gymnasium
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from sdar_gym.envs.wrappers import TaskSequence

ENV = "sdar/ALFWorld-v0"


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_sequence_of_tasks_goes_on_where_a_vector_resets(mode: AutoresetMode) -> None:
    ids = gymnasium.make(ENV).unwrapped.task_ids("valid_seen")[:6]  # type: ignore[attr-defined]

    def make(share: tuple[str, ...]) -> gymnasium.Env[str, str]:
        return TaskSequence(gymnasium.make(ENV, max_steps=1), share)

    envs = SyncVectorEnv([partial(make, ids[n::2]) for n in range(2)], autoreset_mode=mode)
    seen: list[list[str]] = [[], []]
    infos = [envs.reset(seed=3)[1], *(envs.step(("look", "look"))[4] for _ in range(8))]
    for info in infos:
        for number, task_id in enumerate(info["task_id"]):
            if not seen[number] or seen[number][-1] != task_id:
                seen[number].append(str(task_id))
    assert [played[:4] for played in seen] == [[*ids[n::2], ids[n]][:4] for n in range(2)]
    envs.close()


def test_a_seed_restarts_the_sequence_and_options_take_precedence() -> None:
    made = gymnasium.make(ENV)
    ids = made.unwrapped.task_ids()[:3]  # type: ignore[attr-defined]
    env = TaskSequence(made, ids)
    assert [env.reset()[1]["task_id"] for _ in range(4)] == [*ids, ids[0]]
    assert env.reset(options={"split": "valid_seen"})[1]["split"] == "valid_seen"
    assert env.reset()[1]["task_id"] == ids[1]
    assert env.reset(seed=0)[1]["task_id"] == ids[0]
    assert TaskSequence(made, ids[1]).reset()[1]["task_id"] == ids[1]
    for wrong in ((), [3]):
        with pytest.raises(ValueError, match=r"^task_ids must"):
            TaskSequence(made, wrong)  # type: ignore[arg-type]
