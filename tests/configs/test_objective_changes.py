"""Changes of the objective from YAML and the command line: gates by name or with settings, schedules as points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sdar_gym.algorithms.methods.rlsd import RLSDShaper
from sdar_gym.algorithms.methods.sdar import ConstantGate, EntropyGate, SigmoidGate
from sdar_gym.algorithms.objectives.distillation import Distillation
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.configs import ConfigError, load_config

COEFF = "training.objective.distill.coeff"
GATE = "training.objective.distill.gate"


def load(folder: Path, objective: Any = None, *changes: str, **content: Any) -> Objective:
    """The objective of a file with these changes, and others from the command line."""
    path = folder / "my.yaml"
    training = {} if objective is None else {"training": {"objective": objective}}
    path.write_text(yaml.safe_dump({"name": "x", "env": "sdar/ALFWorld-v0", **training, **content}))
    return load_config(str(path), list(changes)).objective


def distilled(folder: Path, objective: Any = None, *changes: str, **content: Any) -> Distillation:
    found = load(folder, objective, *changes, **content).distill
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("written", "gate"),
    [
        ("constant", ConstantGate()),
        ({"name": "constant", "value": 0.7}, ConstantGate(0.7)),
        ({"beta": 2}, SigmoidGate(2.0)),
        ({"name": "entropy"}, EntropyGate()),
        (None, None),
    ],
)
def test_a_gate_is_a_name_or_a_group_in_yaml_and_on_the_command_line(written: Any, gate: Any, tmp_path: Path) -> None:
    assert distilled(tmp_path, {"distill": {"gate": written}}).gate == gate
    flow = yaml.safe_dump(written, default_flow_style=True).partition("\n")[0]
    assert distilled(tmp_path, None, f"{GATE}={flow}").gate == gate


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ((f"{GATE}.beta=2",), SigmoidGate(2.0)),
        ((f"{GATE}.name=constant",), ConstantGate()),
        ((f"{GATE}=entropy", f"{GATE}.beta=3"), EntropyGate(3.0)),
        ((f"{GATE}.beta=3", f"{GATE}=constant"), ConstantGate()),
        ((f"{GATE}.beta=3", f"{GATE}=null"), None),
    ],
)
def test_a_gate_changes_by_dots(changes: tuple[str, ...], gate: Any, tmp_path: Path) -> None:
    assert distilled(tmp_path, None, *changes).gate == gate


def test_a_gate_of_one_method_is_changed_by_name_or_in_its_settings(tmp_path: Path) -> None:
    own = {"training": {"objective_by_method": {"sdar": {"distill": {"gate": "entropy"}}}}}
    assert distilled(tmp_path, **own).gate == EntropyGate()
    assert distilled(tmp_path, None, f"{GATE}.beta=3", **own).gate == EntropyGate(3.0)
    own["training"]["objective_by_method"]["sdar"]["distill"]["gate"] = {"name": "entropy", "beta": 2}  # type: ignore[assignment]
    assert distilled(tmp_path, None, f"{GATE}.name=entropy", **own).gate == EntropyGate(2.0)
    assert distilled(tmp_path, None, f"{GATE}=constant", **own).gate == ConstantGate()
    assert distilled(tmp_path, None, f"{GATE}={{name: constant, value: 1}}", **own).gate == ConstantGate(1.0)


@pytest.mark.parametrize(
    ("written", "schedule"),
    [
        (0.03, Schedule.constant(0.03)),
        ("3e-2", Schedule.constant(0.03)),
        ([[0, 0.5], [100, 0]], Schedule.linear(0.5, 0.0, 100)),
        ([[19, 0.0], [20, 1.0]], Schedule(((19, 0.0), (20, 1.0)))),
    ],
)
def test_a_schedule_is_a_number_or_points(written: Any, schedule: Schedule, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(
        f"name: x\nenv: sdar/ALFWorld-v0\ntraining:\n  objective:\n    distill:\n      coeff: {written}\n",
        encoding="utf-8",
    )
    for run in (load_config(str(path)), load_config("quickstart", [f"{COEFF}={written}"])):
        assert run.objective.distill is not None and run.objective.distill.coeff == schedule


def test_a_shaper_is_changed_in_the_same_way(tmp_path: Path) -> None:
    change = "training.objective.shaping.limit=0.1"
    assert load(tmp_path, None, change, method="rlsd").shaping == RLSDShaper(limit=0.1)
    points = {"shaping": {"name": "rlsd", "coeff": [[0, 0.1], [9, 0.0]]}}
    assert load(tmp_path, points).shaping == RLSDShaper(Schedule.linear(0.1, 0.0, 9))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (f"{GATE}=sigmoyd", r"distill\.gate: unknown gate 'sigmoyd'\. Did you mean 'sigmoid'\? Known names: \['const"),
        (f"{GATE}=[1]", r"distill\.gate must name one gate, alone or with its settings, got \[1\]"),
        (f"{GATE}.betta=2", r"distill\.gate has no setting 'betta'\. Did you mean 'beta'\?"),
        (f"{GATE}.beta=0", r"distill\.gate\.beta must be a finite number above 0, got 0 .*by the change"),
        (f"{GATE}={{name: constant, beta: 2}}", r"distill\.gate has no setting 'beta'\. Known names: \['value'\]"),
        ("training.objective.distill.gate_beta=5", r"distill has no setting 'gate_beta'\. Did you mean 'gate'\?"),
        ("training.objective.shaping=rlsb", r"shaping: unknown advantage shaper 'rlsb'\. Did you mean 'rlsd'\?"),
        ("training.objective.shaping={limit: 1}", "There is no shaping to change: .* set shaping.name too"),
        (f"{COEFF}={{kind: linear, start: 1}}", r"distill\.coeff must be a number or points such as \[\[0, 0\.5\], "),
        (f"{COEFF}=[[5, 1], [5, 0]]", r"distill\.coeff: The steps of a schedule must increase, got \[5, 5\]"),
        (f"{COEFF}=[[0, 1, 2]]", r"distill\.coeff must be a number or points"),
        (f"{COEFF}=[]", r"distill\.coeff must be a number or points"),
        (f"{COEFF}=x", r"distill\.coeff must be a finite number, got 'x'"),
    ],
)
def test_what_makes_no_gate_shaper_or_schedule_is_refused(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("quickstart", [change])
