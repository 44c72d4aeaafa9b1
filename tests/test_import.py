"""Importing the gym is cheap and clean: checked in fresh processes, where nothing else has been imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sdar_gym

# From here the links at the root can be imported, so that a stray `import envs` would succeed and be seen.
ROOT = Path(sdar_gym.__file__).parents[1]
HEAVY = {"torch", "ray", "transformers", "jnius", "bm25s", "pydantic", "yaml", "matplotlib", "rich", "typer"}
ROOT_LINKS = {"envs", "algorithms", "skills", "configs"}


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys, json\nprint(json.dumps([name for name in sys.modules if '.' not in name]))"
    run = subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return set(json.loads(run.stdout))


def test_playing_an_environment_imports_nothing_heavy_and_warns_of_nothing() -> None:
    loaded = modules_after(
        "import gymnasium, sdar_gym\n"
        "env = gymnasium.make('sdar/ALFWorld-v0', games='generated', scene='small')\n"
        "env.reset(seed=0)\n"
        "env.step('look')\n"
        "env.close()"
    )
    assert {"gymnasium", "sdar_gym"} <= loaded
    assert not loaded & HEAVY
    assert not loaded & ROOT_LINKS


def test_importing_the_gym_loads_gymnasium_and_numpy_only() -> None:
    own = modules_after("import sdar_gym") - modules_after("import gymnasium, numpy")
    assert own - sys.stdlib_module_names == {"sdar_gym"}


def test_the_public_names_load_what_they_need_when_they_are_used() -> None:
    loaded = modules_after(
        "import sdar_gym\n"
        "assert set(sdar_gym.__all__) <= set(dir(sdar_gym))\n"
        "env = sdar_gym.make('sdar/ALFWorld-v0', games='generated', scene='small')\n"
        "assert isinstance(env.unwrapped, sdar_gym.TextEnv)\n"
        "sdar_gym.register, sdar_gym.check_text_env"
    )
    assert not loaded & HEAVY
    loaded = modules_after("import warnings\nwarnings.simplefilter('ignore')\nfrom sdar_gym import SDAR, SDARConfig")
    assert {"ray", "torch"} <= loaded


def test_without_ray_the_algorithm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdar_gym.extras.missing_modules", lambda extra: ["ray", "torch"])
    monkeypatch.delitem(sdar_gym.__dict__, "SDARConfig", raising=False)
    with pytest.raises(ImportError, match=r'sdar_gym.SDARConfig needs the extra .* pip install "sdar-gym\[train\]"'):
        sdar_gym.SDARConfig  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'Sdar'"):
        sdar_gym.Sdar  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018


def test_the_id_can_name_the_package_that_registers_it() -> None:
    loaded = modules_after(
        "import gymnasium\n"
        "env = gymnasium.make('sdar_gym:sdar/ALFWorld-v0', games='generated', scene='small')\n"
        "assert env.spec.id == 'sdar/ALFWorld-v0'"
    )
    assert "sdar_gym" in loaded


def test_the_command_line_starts_without_the_training_stack() -> None:
    loaded = modules_after("import sdar_gym.cli")
    assert not loaded & {"torch", "ray", "transformers", "jnius", "bm25s", "pydantic", "yaml", "matplotlib"}


def test_every_room_can_be_imported_without_the_root_links() -> None:
    loaded = modules_after(
        "import sdar_gym.configs, sdar_gym.skills, sdar_gym.envs.wrappers, sdar_gym.envs.prompting, sdar_gym.extras"
    )
    assert not loaded & (ROOT_LINKS | {"torch", "ray", "transformers", "jnius", "pydantic"})
