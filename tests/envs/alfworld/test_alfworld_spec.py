"""`env.spec`: paths of games are absolute, so that the environment can be made again anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gymnasium
import pytest


@pytest.mark.parametrize("way", ["argument", "variable"])
def test_an_environment_made_again_plays_the_same_games(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_game: Callable[..., Path]
) -> None:
    write_game(tmp_path / "games")
    monkeypatch.chdir(tmp_path)
    if way == "variable":
        monkeypatch.setenv("ALFWORLD_DATA", "games")
        env = gymnasium.make("sdar/ALFWorld-v0")
    else:
        env = gymnasium.make("sdar/ALFWorld-v0", games="games")
    spec = env.spec
    assert spec is not None and spec.kwargs["games"] == str(tmp_path / "games")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    again = gymnasium.make(spec)
    assert again.reset()[1]["task_id"] == env.reset()[1]["task_id"] == "train/fetch/trial_1"


def test_a_variable_that_leads_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", "/no/such/games")
    with pytest.raises(ValueError, match=r"^ALFWORLD_DATA is set, but: No such folder"):
        gymnasium.make("sdar/ALFWorld-v0")
