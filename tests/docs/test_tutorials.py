"""The tutorials run: every block of each page; those that train or install with the slow tests."""

from __future__ import annotations

import json
import re
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tutorial_runner import (  # pyright: ignore[reportMissingImports]
    TUTORIALS,
    TutorialRun,
    shell_environment,
)

PAGES = sorted(path.stem for path in TUTORIALS.glob("*.md") if path.stem != "README")
FAST = ["first-environment", "own-skills"]
Unlisted = Callable[[list[dict[str, Any]]], list[str]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return shell_environment(tmp_path_factory.mktemp("tutorials") / "venv")


def test_every_page_is_in_the_list_and_short() -> None:
    index = (TUTORIALS / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([\w-]+)\.md\)", index)) == set(PAGES)
    for page in PAGES:
        assert (TUTORIALS / f"{page}.md").read_text(encoding="utf-8").count("\n") <= 140, page


@pytest.mark.parametrize("page", FAST)
def test_the_quick_blocks_run(page: str, tmp_path: Path, environment: dict[str, str]) -> None:
    run = TutorialRun(tmp_path, environment, fast=True)
    run.page(TUTORIALS / f"{page}.md")
    assert run.ran


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [page for page in PAGES if page != "cluster"])
def test_every_block_runs(page: str, tmp_path: Path, environment: dict[str, str], unlisted_metrics: Unlisted) -> None:
    run = TutorialRun(tmp_path, environment)
    run.page(TUTORIALS / f"{page}.md")
    assert run.ran
    for path in tmp_path.glob("runs/*/metrics.jsonl"):
        assert unlisted_metrics([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]) == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def head(tmp_path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Port of the dashboard, and an environment whose `ray start` makes a head that this test can end by itself.

    `ray stop`, the last block of the page, would end every Ray on this machine: here it does nothing.
    """
    dashboard, folder = free_port(), Path("/tmp") / f"sdar-{secrets.token_hex(4)}"
    ports = " ".join(
        f"--{name}={free_port()}" for name in ("port", "ray-client-server-port", "dashboard-agent-listen-port")
    )
    ray = f'"{Path(sys.executable).parent / "ray"}"'
    start = (
        f'{ray} "$@" --dashboard-port={dashboard} --temp-dir={folder} --num-cpus=2 --node-ip-address=127.0.0.1 {ports}'
    )
    script = f'case "$1" in start) exec {start};; stop) exit 0;; *) exec {ray} "$@";; esac'
    environment = shell_environment(tmp_path / "venv", {"ray": script}) | {"RAY_USAGE_STATS_ENABLED": "0"}
    try:
        yield dashboard, environment
    finally:
        for process in psutil.process_iter(["cmdline"]):
            if any(str(folder) in part for part in process.info["cmdline"] or ()):
                process.kill()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_cluster_run(head: tuple[int, dict[str, str]], tmp_path: Path) -> None:
    port, environment = head
    work = tmp_path / "work"
    work.mkdir()
    run = TutorialRun(work, environment, change=lambda text: text.replace("8265", str(port)))
    run.page(TUTORIALS / "cluster.md")
    summary = json.loads((work / "shared" / "runs" / "laptop-sdar" / "summary.json").read_text(encoding="utf-8"))
    assert summary["updates"] == 2


def test_a_block_that_fails_is_named(tmp_path: Path, environment: dict[str, str]) -> None:
    page = tmp_path / "page.md"
    page.write_text('# T\n\n```text title="a/b.txt"\nx\n```\n\n```bash\ntest -f a/b.txt\necho said\nfalse\n```\n')
    run = TutorialRun(tmp_path, environment)
    with pytest.raises(AssertionError, match=r"(?s)page\.md, line 7 ended with 1:.*said"):
        run.page(page)
    assert (tmp_path / "a" / "b.txt").read_text() == "x\n"


def test_skipped_blocks_are_not_run(tmp_path: Path, environment: dict[str, str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- skip: next -->\n\n```bash\nfalse\n```\n\n"
        "<!-- skip: next if(fast, 'long') -->\n\n```bash\ntouch long\n```\n\n"
        "```bash\ntouch short\n```\n\n```\nfalse\n```\n"
    )
    for fast in (True, False):
        run = TutorialRun(tmp_path, environment, fast=fast)
        run.page(page)
        assert (tmp_path / "long").exists() is not fast and (tmp_path / "short").exists()
        assert len(run.skipped) == 1 + fast
