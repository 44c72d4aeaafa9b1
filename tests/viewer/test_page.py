"""The page as a file: what is in it, chunks beside it for a large run, and the vendored libraries."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from pathlib import Path

import pytest
from made_run import make_run  # pyright: ignore[reportMissingImports]

from sdar_gym.viewer import page as module
from sdar_gym.viewer.page import write_page
from sdar_gym.viewer.recording import Recording, RecordingError

VENDOR = files("sdar_gym.viewer").joinpath("page", "vendor")


def test_a_small_run_is_one_file_beside_its_episodes(tmp_path: Path) -> None:
    run = make_run(tmp_path, hostile=True)
    path, data = write_page([Recording(run)])
    assert path == run / "view.html"
    text = path.read_text(encoding="utf-8")
    assert text.count('<script type="text/plain" id="chunk-') == len(data.chunks) == 1
    assert not (run / "view_files").exists()
    # Texts of games and models are in JSON in script elements, which nothing in them can end.
    assert "<img" not in text and text.lower().count("</script>") == text.lower().count("<script")
    assert "default-src 'none'" in text


def test_a_large_run_has_its_chunks_beside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_FILE", 10)
    run = make_run(tmp_path)
    path, data = write_page([Recording(run)], tmp_path / "out" / "page.html")
    beside = tmp_path / "out" / "page_files"
    assert data.index["folder"] == "page_files"
    assert [file.name for file in beside.iterdir()] == ["chunk-00000.js"]
    assert re.fullmatch(r'sdarChunk\(0,"[A-Za-z0-9+/=]+"\)\n', (beside / "chunk-00000.js").read_text())
    monkeypatch.undo()
    write_page([Recording(run)], path)
    assert not beside.exists()


def test_a_followed_page_says_its_version_when_it_is_complete(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    _, data = write_page([Recording(run)], refresh=True)
    version = data.index["refresh"]["version"]
    assert (run / "view_files" / "version.js").read_text() == f'sdarVersion("{version}")\n'
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"update": 3, "train": {"success": 1.0}}\n')
    _, later = write_page([Recording(run)], refresh=True)
    assert later.index["refresh"]["version"] != version


def test_a_page_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match=r"The page .*view\.html cannot be written"):
        write_page([Recording(run)], tmp_path / "file" / "view.html")


def test_vendored_libraries_are_the_published_ones() -> None:
    listed = dict(
        re.findall(r"\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|", VENDOR.joinpath("README.md").read_text("utf-8"))
    )
    found = {file.name for file in VENDOR.iterdir()} - {"README.md"}
    assert set(listed) == {name for name in found if not name.startswith("LICENSE")}
    for name, digest in listed.items():
        assert hashlib.sha256(VENDOR.joinpath(name).read_bytes()).hexdigest() == digest, name
    assert {name for name in found if name.startswith("LICENSE")} == {"LICENSE-htm", "LICENSE-preact", "LICENSE-uPlot"}
