"""The Python examples in the README run: the first one as it stands, those of the algorithm with small numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sdar_gym

README = Path(sdar_gym.__file__).parents[1] / "README.md"


def test_the_first_example_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALFWORLD_DATA", "SDAR_GYM_DATA"):
        monkeypatch.delenv(name, raising=False)
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    code = found[1]
    assert "gymnasium.make(" in code
    exec(compile(code, str(README), "exec"), {"__name__": "readme"})
    shown = capsys.readouterr().out
    assert re.search(r"(not )?won after \d+ turns", shown.splitlines()[-1])
    assert len(shown.splitlines()) > 1


SMALLER = {
    '"max_steps": 20': '"max_steps": 3',
    "group_size=8, tasks_per_iteration=8": "group_size=2, tasks_per_iteration=2",
    "evaluation(tasks=128": "evaluation(tasks=4",
    "tune.choice([4, 8])": "tune.choice([2, 4])",
    "num_samples=4": "num_samples=2",
    '"training_iteration": 5}': '"training_iteration": 1}, storage_path=storage, verbose=0',
}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_the_algorithm_and_the_search_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import ray

    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    code = "".join(block for block in blocks if "SDARConfig" in block or "tune.Tuner" in block)
    for published, small in SMALLER.items():
        assert published in code
        code = code.replace(published, small)
    ray.shutdown()  # One that tests of another file left.
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        exec(compile(code, str(README), "exec"), {"__name__": "readme", "storage": str(tmp_path)})
    finally:
        ray.shutdown()
    success, lr, group_size = capsys.readouterr().out.splitlines()[-1].split()
    assert 0 <= float(success) <= 1 and 1e-5 <= float(lr) <= 1e-3 and int(group_size) in (2, 4)
