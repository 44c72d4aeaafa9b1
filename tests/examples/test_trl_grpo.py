"""TRL's trainer takes a step on the example, with a model that has learned to call the tool."""

from __future__ import annotations

import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tiny_chat import save_tiny_chat  # pyright: ignore[reportMissingImports]

EXAMPLE = Path(__file__).parents[2] / "examples" / "trl_grpo" / "train.py"
CALL = '<tool_call>\n{"name": "act", "arguments": {"action": "look"}}\n</tool_call>'
pytestmark = [
    pytest.mark.slow,  # Mostly importing.
    pytest.mark.skipif(find_spec("trl") is None, reason="needs TRL: pip install trl==1.16.0"),
    pytest.mark.filterwarnings("ignore"),
]


def test_a_model_acts_by_calling_the_tool(tmp_path: Path) -> None:
    import trl

    template = Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja"
    save_tiny_chat(tmp_path / "model", CALL, template.read_text())
    example = runpy.run_path(str(EXAMPLE))
    example["ENV"]["max_steps"] = 3
    settings: dict[str, Any] = {
        "max_steps": 1,
        "num_generations": 2,
        "per_device_train_batch_size": 2,
        "max_tool_calling_iterations": 5,
        "temperature": 0.2,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
    }
    trainer = example["train"](str(tmp_path / "model"), str(tmp_path / "run"), **settings)
    logged = next(row for row in trainer.state.log_history if "reward" in row)
    # Three turns, then two calls that are told that the episode is over.
    assert (logged["tools/call_frequency"], logged["tools/failure_frequency"]) == (5.0, 0.0)
    assert logged["reward"] == logged["rewards/TrlEnvironment/mean"]
    said = [message["content"] for message in trainer._logs["completion"][0] if message["role"] == "tool"]
    assert said[0].startswith("You are in the middle of a room.")
    assert said[2].endswith("The episode is over; do not act again.")
    prompt = trainer._logs["prompt"][0][0]["content"]
    assert prompt.startswith("You are an agent in a household")
    assert "<action>" not in prompt
