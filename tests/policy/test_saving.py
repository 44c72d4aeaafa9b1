"""Atomic saving of a policy, and refusal of weights that are not finite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sdar_gym.policy import saving
from sdar_gym.policy.load import PolicyLoadError, load_model, load_tokenizer, policy_path
from sdar_gym.policy.non_finite import NonFiniteError, largest_magnitude, refuse_not_finite
from sdar_gym.policy.saving import save_model


@pytest.fixture
def policy(policy_folder: Path) -> tuple[Any, Any]:
    return load_model(str(policy_folder)), load_tokenizer(str(policy_folder))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_saved_is_loaded_again(policy: tuple[Any, Any], tmp_path: Path) -> None:
    model, _ = policy
    save_model(*policy, tmp_path / "deep" / "policy")
    loaded = load_model(str(tmp_path / "deep" / "policy")).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in model.state_dict().items())
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["policy"]


def test_a_folder_that_is_there_gets_the_new_policy_and_keeps_other_files(
    policy: tuple[Any, Any], tmp_path: Path
) -> None:
    model, _ = policy
    save_model(*policy, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"of a larger model")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    save_model(*policy, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.glob("*.safetensors*")] == ["model.safetensors"]
    assert torch.equal(next(load_model(str(tmp_path)).parameters()), next(model.parameters()))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_not_saved(value: float, policy: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = policy
    with torch.no_grad():
        model.lm_head.weight[3, 1:3] = value
    with pytest.raises(NonFiniteError, match=r"hold 2 numbers that are not finite, in 1 tensors, .* among"):
        save_model(model, tokenizer, tmp_path / "policy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_leaves_the_old_policy_or_none(
    existing: bool, policy: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = policy
    if existing:
        save_model(model, tokenizer, tmp_path / "policy")
    before = files(tmp_path)

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "flush_tree", full)
    with pytest.raises(OSError, match="No space"):
        save_model(model, tokenizer, tmp_path / "policy")
    assert files(tmp_path) == before


KILLED = """
import os, sys
from pathlib import Path
from sdar_gym.policy.load import load_model, load_tokenizer
from sdar_gym.policy.saving import save_model
source, target, left = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
replace = os.replace
def killed(*args):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
    replace(*args)
model, tokenizer = load_model(source), load_tokenizer(source)
os.replace = killed
save_model(model, tokenizer, target)
"""


@pytest.mark.parametrize(
    ("existing", "renames"),
    [
        (False, 0),
        pytest.param(True, 1, marks=pytest.mark.slow),
        pytest.param(True, 0, marks=pytest.mark.slow),
        pytest.param(True, 3, marks=pytest.mark.slow),
    ],
)
def test_a_kill_in_the_middle_leaves_no_half_policy(
    existing: bool, renames: int, policy: tuple[Any, Any], policy_folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "policy"
    if existing:
        save_model(*policy, target)
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(policy_folder), str(target), str(renames)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert run.returncode == -9, run.stderr
    if not existing:
        assert not target.exists()
    else:
        with pytest.raises(PolicyLoadError, match=r"without config\.json"):
            policy_path(str(target))


def test_the_largest_magnitude_knows_nan_and_does_not_overflow() -> None:
    assert largest_magnitude([torch.tensor([1.0, float("nan")]), torch.tensor([3.0])]).isnan()
    assert float(largest_magnitude([torch.tensor([3e38, -3e38]), torch.tensor([-3.2e38])])) == pytest.approx(3.2e38)
    assert largest_magnitude([torch.tensor([1.0]), torch.tensor([-float("inf")])]).isinf()


def test_integers_are_always_finite() -> None:
    refuse_not_finite("These", {"a": torch.tensor([1, 2]), "b": torch.tensor([True])})
