"""AgileRL's GRPO learns one step from rollouts of the example."""

from __future__ import annotations

import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tiny_chat import save_tiny_chat  # pyright: ignore[reportMissingImports]

EXAMPLE = Path(__file__).parents[2] / "examples" / "agilerl" / "train.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("agilerl") is None, reason="needs AgileRL: pip install 'agilerl[cpu-llm]==2.58.0', in its own venv"
    ),
    pytest.mark.filterwarnings("ignore"),
]


def test_a_group_of_episodes_is_played_and_learned_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Liger's kernels, which AgileRL puts into the models that they know, need a GPU; they do not know GPT-2.
    save_tiny_chat(tmp_path / "model", "<action>look</action>", gpt2=True)
    example = runpy.run_path(str(EXAMPLE))
    example["ENV"]["max_steps"] = 3
    seen: list[dict[str, Any]] = []
    learned: list[Any] = []
    step, learn = example["AgileEnv"].step, example["GRPO"].learn

    def watched_step(env: Any, action: str) -> Any:
        result = step(env, action)
        seen.append(result[4])
        return result

    def watched_learn(agent: Any, experiences: Any, **settings: Any) -> Any:
        learned.append((experiences, settings["turn_ids"]))
        return learn(agent, experiences, **settings)

    monkeypatch.setattr(example["AgileEnv"], "step", watched_step)
    monkeypatch.setattr(example["GRPO"], "learn", watched_learn)
    example["train"](
        str(tmp_path / "model"),
        max_steps=4,
        batch_size=2,
        group_size=2,
        max_output_tokens=8,
        use_liger_loss=False,
        device="cpu",
        temperature=0.3,
    )
    (ids, masks, rewards), turns = learned[0]
    # Two groups of two episodes with three turns, played to their end.
    assert tuple(rewards.shape) == (4, 3)
    assert len(ids) == len(masks) == 4 and all(bool(mask.any()) for mask in masks)
    assert set(turns.flatten().tolist()) == {-1, 0, 1, 2}
    assert len(seen) == 12
    assert {info["turn"] for info in seen} == {1, 2, 3}
    assert len({info["task_id"] for info in seen}) == 2
    assert sum(info["action"] == "look" and info["form_valid"] for info in seen) >= 10
