"""The setting `imports`: the gate in CONTRIBUTING.md works from a module of a user's own, in every process."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import sdar_gym
from sdar_gym.algorithms import Gate, GateInputs, get_method
from sdar_gym.configs import ConfigError, load_config
from sdar_gym.configs.schema import parse_run_config
from sdar_gym.envs.registry import load_modules
from sdar_gym.rollout import metrics

GUIDE = Path(sdar_gym.__file__).parents[1] / "CONTRIBUTING.md"
COUNTING = """
from sdar_gym.rollout.metrics import register_metric

def turns(episode):
    return len(episode.turns)

register_metric("turns", turns)
"""


def example() -> tuple[str, dict[str, Any]]:
    """The module with the gate, and the configuration that chooses it."""
    section = GUIDE.read_text(encoding="utf-8").split("### A gate or an advantage shaper")[1].split("\n### ")[0]
    module, configuration = (re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)[0] for kind in ("python", "yaml"))
    return module, yaml.safe_load(configuration)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with modules of a user; what they register is forgotten afterwards."""
    (tmp_path / "my_gates.py").write_text(example()[0], encoding="utf-8")
    (tmp_path / "my_metrics.py").write_text(COUNTING, encoding="utf-8")
    (tmp_path / "broken.py").write_text("import no_such_package", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Gate, "registry", dict(Gate.registry))
    monkeypatch.setattr(metrics, "_METRICS", dict(metrics._METRICS))
    yield tmp_path
    for name in ("my_gates", "my_metrics", "broken"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("modules")
def test_the_gate_in_the_guide_is_chosen_by_its_configuration() -> None:
    run = parse_run_config({"name": "guide", "env": "sdar/ALFWorld-v0", **example()[1]}, "the guide")
    distill = run.objective.distill
    assert distill is not None and distill.gate is not None and run.imports == ["my_gates"]
    gap_BT, mask_BT = torch.tensor([[0.1, 0.3]]), torch.ones(1, 2, dtype=torch.bool)
    assert distill.gate.weights(GateInputs(gap_BT, mask_BT, gap_BT, gap_BT)).tolist() == [[0.0, 1.0]]
    with pytest.raises(ValueError, match=r"distill\.gate\.margin must be a finite number of at least 0, got -1"):
        get_method("sdar").with_overrides({"distill": {"gate": {"name": "margin", "margin": -1}}})


@pytest.mark.usefixtures("modules")
def test_the_command_line_reads_the_settings_of_the_gate() -> None:
    changes = ["imports=my_gates", "training.objective.distill.gate=margin"]
    run = load_config("quickstart", [*changes, "training.objective.distill.gate.margin=.25"])
    assert run.objective.distill is not None and run.objective.distill.gate is not None
    assert run.objective.distill.gate.plain() == {"name": "margin", "margin": 0.25}
    with pytest.raises(ConfigError, match=r"unknown gate 'margin'.* `imports` names the module"):
        Gate.registry.pop("margin")
        load_config("quickstart", changes)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module", r"imports: no_such_module: there is no module 'no_such_module'\. Install it"),
        ("broken", r"imports: broken: importing 'broken' failed: .*no_such_package"),
        ("a b", r"imports: 'a b' is no name of a module"),
        ("my_gates:MarginGate", r"imports: 'my_gates:MarginGate' is no name of a module"),
        ("3", r"imports must be a list of texts, got 3"),
    ],
)
@pytest.mark.usefixtures("modules")
def test_what_is_no_module_is_one_message(value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"{message}.*\(in quickstart\)\.$"):
        load_config("quickstart", [f"imports={value}"])


@pytest.mark.usefixtures("modules")
def test_a_module_that_is_loaded_again_registers_the_same_metric() -> None:
    load_modules(["my_metrics"])
    first = metrics._METRICS["turns"]
    del sys.modules["my_metrics"]
    load_modules(["my_metrics"])
    assert metrics._METRICS["turns"] is not first
    with pytest.raises(ValueError, match="Another metric 'turns' is registered already"):
        metrics.register_metric("turns", lambda episode: 0.0)
