"""Writes the pictures of the viewer in docs/images from two runs of the quick start.

    sdar-gym train quickstart && sdar-gym train quickstart method=grpo
    python scripts/viewer_screenshots.py runs/quickstart-sdar runs/quickstart-grpo

Needs Chromium and playwright. The group is the one of the first update in which some episodes were won and some not.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import sync_playwright

from sdar_gym.viewer.page import write_page
from sdar_gym.viewer.recording import Recording

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def mixed_group(run: Path) -> tuple[str, str]:
    """Group, and its first episode that was lost, in the first update."""
    groups: dict[str, list[tuple[str, bool]]] = {}
    for line in (run / "episodes" / "train-00001.jsonl").read_text(encoding="utf-8").splitlines():
        episode = json.loads(line)
        groups.setdefault(episode["episode_id"].split("/")[0], []).append((episode["episode_id"], episode["won"]))
    for group, members in groups.items():
        if len({won for _, won in members}) == 2:
            return group, next(name for name, won in members if not won)
    raise SystemExit("No group of the first update has both outcomes; use another seed.")


def strongest(run: Path, episode: str) -> str:
    """Turn and token of the episode's largest gap."""
    best, place = 0.0, "1.0"
    for line in (run / "tokens" / "train-00001.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for number, gap in enumerate(row["gap"] or ()) if row["episode_id"] == episode else ():
            if gap is not None and abs(gap) > best:
                best, place = abs(gap), f"{row['turn']}.{number}"
    return place


def main(first: Path, second: Path) -> None:
    """Writes the pictures of two runs."""
    group, lost = mixed_group(first)
    routes = {
        "viewer-overview-light": ("/overview", "light"),
        "viewer-tokens-light": (
            f"/episode/0/train-00001/{quote(lost)}?color=gap&token={strongest(first, lost)}",
            "light",
        ),
        "viewer-group-dark": (f"/group/0/train-00001/{group}?color=gap", "dark"),
        "viewer-compare-light": ("/compare?cell=dropped", "light"),
    }
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as running:
        page, _ = write_page([Recording(first), Recording(second)], Path(folder) / "view.html")
        browser = running.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        for name, (route, scheme) in routes.items():
            tab = browser.new_page(viewport={"width": 1240, "height": 780}, color_scheme=scheme)
            tab.goto(f"{page.as_uri()}#{route}")
            tab.wait_for_selector("main")
            tab.wait_for_timeout(500)
            tab.screenshot(path=IMAGES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
