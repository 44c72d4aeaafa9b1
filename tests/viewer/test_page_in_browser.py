"""The page in headless Chromium: filters, keys, tokens, groups, comparison, hostile texts, and no request elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_run import HOSTILE, make_run  # pyright: ignore[reportMissingImports]

from sdar_gym.viewer import page as module
from sdar_gym.viewer.page import write_page
from sdar_gym.viewer.recording import Recording

pytestmark = pytest.mark.browser

# Milliseconds that a change of the page may take on a busy machine.
PATIENCE = 20_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[test]'")
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if binary is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        # Containers' root has no sandbox; the pages are ours.
        started = running.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield started
        started.close()


class Page:
    """A tab that records errors and requests."""

    def __init__(self, browser: Any, file: Path, **settings: Any):
        self.file = file
        self.context = browser.new_context(viewport={"width": 1300, "height": 800}, **settings)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(PATIENCE)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.tab.on(
            "console", lambda message: message.type in ("error", "warning") and self.errors.append(message.text)
        )
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("request", lambda request: self.requests.append(request.url))

    def open(self, route: str = "/overview") -> Any:
        self.tab.goto(f"{self.file.as_uri()}#{route}")
        self.tab.wait_for_selector("main")
        return self.tab

    def hash(self) -> str:
        return self.tab.evaluate("location.hash")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)

    def check(self) -> None:
        assert self.errors == []
        away = [url for url in self.requests if not url.startswith((self.file.parent.as_uri(), "blob:", "data:"))]
        assert away == []


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of one run, of two runs, and of one with hostile texts."""
    folder = tmp_path_factory.mktemp("pages")
    first, second = make_run(folder, "first-sdar"), make_run(folder, "second-sdar", better=True)
    write_page([Recording(first)], folder / "one.html")
    write_page([Recording(first), Recording(second)], folder / "two.html")
    write_page([Recording(make_run(folder, "hostile-sdar", hostile=True))], folder / "hostile.html")
    return folder


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """Opens pages; after the test, none has had an error or asked for anything elsewhere."""
    pages: list[Page] = []

    def start(file: Path, **settings: Any) -> Page:
        pages.append(Page(browser, file, **settings))
        return pages[-1]

    yield start
    for page in pages:
        page.check()
        page.context.close()


def test_the_overview_has_curves_types_and_any_metric(opened: Any, files: Path) -> None:
    page = opened(files / "two.html")
    tab = page.open()
    assert tab.locator("canvas").count() == 3
    assert tab.locator(".facts").all_inner_texts()[1].startswith("second-sdar")
    table = tab.locator("table.types").inner_text()
    assert "heat" in table and "100.0 %" in table
    tab.select_option("#metric", "train/success")
    tab.wait_for_selector("figcaption:has-text('train/success')")
    assert tab.locator("canvas").count() == 4
    assert "train%2Fsuccess" in page.hash()
    tab.locator("table.types a", has_text="look").first.click()
    assert page.hash() == "#/episodes?type=look"


def test_filters_sort_and_search_narrow_the_list_and_stay_in_the_link(opened: Any, files: Path) -> None:
    page = opened(files / "one.html")
    tab = page.open("/episodes")
    assert tab.locator("#count").inner_text() == "84 of 84 episodes"
    tab.select_option("#type", "heat")
    tab.select_option("#outcome", "won")
    tab.select_option("#update", "2")
    assert tab.locator("#count").inner_text() == "20 of 84 episodes"
    tab.fill("#search", "apple 12")
    assert tab.locator("#count").inner_text() == "1 of 84 episodes"
    tab.reload()
    assert tab.locator("#count").inner_text() == "1 of 84 episodes"
    assert tab.locator("a.row").inner_text().split("\n")[2] == "heat apple 12."
    page.open("/episodes?kind=tokens")
    assert tab.locator("#count").inner_text() == "4 of 84 episodes"
    tab.locator(".head button", has_text="turns").click()
    tab.locator(".head button", has_text="turns").click()
    assert tab.locator("a.row").first.inner_text().split("\n")[5] == "3"
    page.open("/episodes?q=nothing")
    tab.locator("button", has_text="Clear the filters").click()
    assert tab.locator("#count").inner_text() == "84 of 84 episodes"


def test_the_keyboard_leads_to_a_token_and_back(opened: Any, files: Path) -> None:
    page = opened(files / "one.html")
    tab = page.open()
    page.press("2")
    tab.wait_for_selector(".scroller")
    page.press("End", "Home", "/")
    tab.wait_for_selector("#search:focus")
    tab.keyboard.type("train apple")
    page.press("Enter")
    tab.select_option("#kind", "tokens")
    page.press("Escape", "j", "j", "k", "k", "Enter")
    tab.wait_for_selector("article")
    assert "/episode/0/train-00001/0/0" in page.hash()
    page.press("n", "n", "ArrowRight")
    assert "token=2.1" in page.hash()
    assert tab.locator(".token.selected").inner_text() == "go to fridge 1"
    card = tab.locator(".card").inner_text()
    for text in ("student", "0.3679", "teacher", "0.6065", "+0.5000 nats", "0.9000", "1.2000 nats", "above"):
        assert text in card
    page.press("ArrowLeft", "ArrowLeft")
    assert "token=1.3" in page.hash()
    page.press("S")
    assert "token=1.1" in page.hash()
    tab.locator(".strip button").nth(2).click()
    assert "token=3.0" in page.hash()
    page.press("c")
    assert "color=gate" in page.hash()
    page.press("]")
    tab.wait_for_selector("text=episode 0/1")
    page.press("[")
    tab.wait_for_selector("text=episode 0/0")
    page.press("g")
    tab.wait_for_selector(".beside")
    page.press("Escape")
    tab.wait_for_selector("article")
    page.press("Escape")
    tab.wait_for_selector(".scroller")
    page.press("?")
    tab.wait_for_selector(".help")
    assert "next and previous token" in tab.locator(".help").inner_text()


def test_an_episode_shows_skills_actions_and_what_only_the_teacher_read(opened: Any, files: Path) -> None:
    page = opened(files / "one.html")
    tab = page.open("/episode/0/train-00001/0/0")
    tab.wait_for_selector("article")
    assert tab.locator(".context").count() == 1
    assert "skill: heat it in the microwave." in tab.locator(".context").inner_text()
    tab.locator(".skills summary").click()
    assert "score 1.500" in tab.locator(".skills summary").inner_text()
    assert "microwave" in tab.locator(".skills .text").inner_text()
    tab.locator("article .actions summary").first.click()
    assert tab.locator("article .actions .chosen").first.inner_text() == "look"
    tab.locator(".token", has_text="go to fridge 1").hover()
    assert "0.9000" in tab.locator(".card").inner_text()
    colors = {}
    for name in ("none", "gap", "gate", "advantage", "weight", "entropy", "student", "teacher", "change", "clip"):
        tab.select_option("#color", name)
        token = tab.locator("#turn-2 .token").nth(1)
        colors[name] = token.evaluate("each => getComputedStyle(each).backgroundColor")
        assert name == "none" or tab.locator(".legend").count() == 1
    assert colors["none"] == "rgba(0, 0, 0, 0)"
    assert all(color != colors["none"] for name, color in colors.items() if name != "none")
    assert tab.locator("#turn-2 .token.clipped").count() == 1
    # An episode of an evaluation has no tokens.
    page.open("/episode/0/eval-00002/3/0")
    tab.wait_for_selector("article")
    assert tab.locator(".token").count() == 0 and tab.locator("#color").count() == 0
    page.open("/episode/0/eval-00002/99/0")
    assert "This page has no episode" in tab.locator(".notice").inner_text()


def test_a_group_shows_where_the_paths_part(opened: Any, files: Path) -> None:
    page = opened(files / "one.html")
    tab = page.open("/group/0/train-00001/0")
    tab.wait_for_selector(".beside")
    assert tab.locator(".member").all_inner_texts()[1].startswith("episode 0/1 out of turns")
    assert tab.locator(".shared summary").inner_text() == "The first 2 turns are the same"
    assert tab.locator(".shared .step").count() == 2
    assert tab.locator(".parting").inner_text() == "Their paths part at turn 3"
    assert tab.locator(".beside > .step").count() == 2
    tab.locator(".token", has_text="open fridge 1").click()
    tab.wait_for_selector("article")
    assert "/episode/0/train-00001/0/0" in page.hash() and "token=3.1" in page.hash()


def test_two_runs_are_compared_task_by_task(opened: Any, files: Path) -> None:
    page = opened(files / "two.html")
    tab = page.open("/compare")
    cells = [cell.split()[0] for cell in tab.locator(".cell").all_inner_texts()]
    assert cells == ["20", "0", "20", "0"]
    text = tab.locator("main").inner_text()
    assert "+50.0" in text and "+100.0" in text and "20 tasks differ; exact McNemar p = 1.9e-6" in text
    tab.locator(".pairs a").first.click()
    tab.wait_for_selector(".beside")
    assert [each.split("\n")[0] for each in tab.locator(".member").all_inner_texts()] == [
        "first-sdar out of turns 2 turns, reward 0", "second-sdar won 2 turns, reward 1",
    ]  # fmt: skip
    page.press("Escape")
    tab.wait_for_selector(".cells")
    tab.select_option("#batch-1", "eval-00000")
    tab.wait_for_selector("h2:has-text('only second-sdar: 0 tasks')")
    assert [cell.split()[0] for cell in tab.locator(".cell").all_inner_texts()] == ["0", "20", "0", "20"]
    page.press("4")
    assert tab.locator("tr.strong", has_text="training.lr").inner_text().split() == ["training.lr", "0.001", "0.002"]


def test_texts_of_models_and_games_are_never_html(opened: Any, files: Path) -> None:
    page = opened(files / "hostile.html")
    tab = page.open("/episode/0/train-00001/0/0")
    tab.wait_for_selector("article")
    for number in range(tab.locator("summary").count()):
        tab.locator("summary").nth(number).click()
    assert tab.evaluate("window.broken") is None
    assert tab.locator("main img, main script").count() == 0
    shown = HOSTILE.replace("\ud800", "�")
    texts = tab.locator("main").evaluate("each => each.textContent")
    assert texts.replace("\ud800", "�").count(shown) >= 7
    page.open("/episodes")
    assert "<script>" in tab.locator("a.row", has_text="window.broken").inner_text()


def test_light_and_dark_follow_the_system_until_chosen(opened: Any, files: Path) -> None:
    def paper(tab: Any) -> str:
        return tab.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = opened(files / "one.html", color_scheme="light"), opened(files / "one.html", color_scheme="dark")
    papers = [paper(light.open()), paper(dark.open())]
    assert papers == ["rgb(255, 255, 255)", "rgb(20, 23, 28)"]
    light.press("t", "t")
    assert light.tab.locator("#theme").inner_text() == "dark"
    assert paper(light.tab) == papers[1]
    light.tab.reload()
    assert paper(light.tab) == papers[1]


def test_chunks_beside_the_page_open_from_a_file(opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_FILE", 10)
    path, _ = write_page([Recording(make_run(tmp_path))], tmp_path / "page.html")
    page = opened(path)
    tab = page.open("/episode/0/train-00001/1/0")
    tab.wait_for_selector("article")
    assert [url.rpartition("/")[2] for url in page.requests if url.endswith(".js")] == ["chunk-00000.js"]
    (tmp_path / "page_files" / "chunk-00000.js").unlink()
    tab.reload()
    tab.wait_for_selector(".notice")
    assert "copy the folder page_files along with the page" in tab.locator(".notice").inner_text()
    assert all("ERR_FILE_NOT_FOUND" in error for error in page.errors)
    page.errors.clear()


def test_a_followed_page_loads_its_newer_version_and_stays_where_it_is(opened: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path, _ = write_page([Recording(run)], refresh=True)
    page = opened(path)
    tab = page.open("/episodes?type=heat")
    assert tab.locator("nav", has_text="follows the run").count() == 1
    added = (run / "episodes" / "eval-00002.jsonl").read_text()
    (run / "episodes" / "eval-00004.jsonl").write_text(added)
    write_page([Recording(run)], refresh=True)
    tab.wait_for_selector("#count:has-text('of 124')", timeout=20_000)
    assert page.hash() == "#/episodes?type=heat"
