"""Run names: valid folder names, and no path outside `runs_dir`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import made_config  # pyright: ignore[reportMissingImports]

from sdar_gym.configs.run_names import check_run_name
from sdar_gym.runs.folder import new_run_folder

REFUSED = (
    *(
        "",
        ".",
        "..",
        "...",
        "../up",
        "../../../../tmp/x",
        "/tmp/y",
        "a/b/c",
        "a\\b",
        "a\nb",
        "a b",
        "ü",
        "a/b c/ü",
        "~",
    ),
    *("con:|<>", "\x1b]0;t\x07", "\x1b[2Ja", "\u202eevil", "nul", "NUL.txt", "com1", "LPT9", "end.", "-rf", "a" * 200),
    *("a\x00b", "\ud800", "a?", "a*", "$(x)", "s3://bucket", "\u200ba", "\uff0e\uff0e"),
)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_folder_name_is_refused_and_makes_nothing(name: str, tmp_path: Path) -> None:
    config = made_config(tmp_path / "runs")
    with pytest.raises(ValueError, match=r"name must be (one folder name|a text)") as refused:
        new_run_folder(replace(config, name=name))
    assert "\x1b" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["quick", "12e4567", "nan", "null", "1.5", "v1.2_b-3", ".hidden", "conx", "a" * 128])
def test_other_names_are_taken_as_they_are(name: str, tmp_path: Path) -> None:
    folder = new_run_folder(replace(made_config(tmp_path / "runs"), name=name))
    assert folder.path == tmp_path / "runs" / f"{name}-sdar"


@pytest.mark.parametrize(
    ("name", "proposal"), [("feature/x", "feature-x"), ("../up", "up"), ("a b/ü", "a-b-u"), ("con", "run-con")]
)
def test_a_name_that_would_do_is_proposed(name: str, proposal: str) -> None:
    with pytest.raises(ValueError, match=f"name={proposal} would do"):
        check_run_name(name)
    assert check_run_name(proposal) == proposal


@pytest.mark.parametrize("name", [None, 12, 1.5, ["a"], True])
def test_a_name_is_a_text(name: object) -> None:
    with pytest.raises(ValueError, match="name must be a text"):
        check_run_name(name)


def test_a_method_leads_nowhere_either(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="method must be one folder name"):
        new_run_folder(replace(made_config(tmp_path / "runs"), method="/../../x"))


@pytest.mark.parametrize("place", ["s3://my-bucket/runs", "gs://bkt/x", "hdfs://a/b", "http://host/x"])
def test_an_address_is_no_place_for_runs(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="runs_dir must be a local or mounted folder"):
        new_run_folder(replace(made_config(tmp_path), runs_dir=place))
    assert list(tmp_path.iterdir()) == []


def test_a_file_address_is_a_local_folder(tmp_path: Path) -> None:
    folder = new_run_folder(replace(made_config(tmp_path), runs_dir=f"file://{tmp_path}/runs"))
    assert folder.path == tmp_path / "runs" / "quickstart-sdar"


def test_a_file_in_the_way_is_told_and_the_same_name_gets_a_number(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="Cannot create the run folder"):
        new_run_folder(made_config(tmp_path / "file"))
    names = [new_run_folder(made_config(tmp_path / "runs")).path.name for _ in range(3)]
    assert names == ["quickstart-sdar", "quickstart-sdar-2", "quickstart-sdar-3"]
