"""Pages and pictures that scripts make: the committed ones are current, and each equation's line is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cli_page  # pyright: ignore[reportMissingImports]
import equation_page  # pyright: ignore[reportMissingImports]
import pytest
import result_tables  # pyright: ignore[reportMissingImports]
import sdar_figure  # pyright: ignore[reportMissingImports]

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("script", [equation_page, cli_page], ids=["equations", "cli"])
def test_the_committed_page_is_up_to_date(script: Any) -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), (
        f"docs/{script.PAGE.name} does not say what the code says: run python scripts/{script.__name__}.py"
    )


@pytest.mark.parametrize("page", result_tables.PAGES, ids=[page.name for page in result_tables.PAGES])
def test_the_committed_tables_are_those_of_the_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("by scripts/result_tables.py -->") == text.count("<!-- end of table -->") >= 1
    assert text == result_tables.filled(text), "run python scripts/result_tables.py"


def test_the_committed_figures_are_up_to_date_and_have_a_text() -> None:
    for name, colors in sdar_figure.FILES.items():
        text = (sdar_figure.FOLDER / name).read_text(encoding="utf-8")
        assert text == sdar_figure.figure(colors), "run python scripts/sdar_figure.py"
        assert "<title" in text and "<desc" in text


def test_a_line_that_moved_is_found_and_one_that_is_gone_is_an_error() -> None:
    gap = next(each for _, _, chapter in equation_page.CHAPTERS for each in chapter if each.function == "teacher_gap")
    number, line = equation_page.find(gap)
    text = (ROOT / gap.file).read_text(encoding="utf-8").splitlines()[number - 1]
    assert text.strip() == line == "gap_BT = teacher_logp_BT.detach() - student_logp_BT.detach()"
    with pytest.raises(ValueError, match=r"teacher_gap: 'gone' is in 0 of its lines.*equation_page\.py"):
        equation_page.find(replace(gap, piece="gone"))
    with pytest.raises(ValueError, match="has no nothing"):
        equation_page.find(replace(gap, function="nothing"))


def test_every_command_and_option_is_on_the_page() -> None:
    page = cli_page.page()
    for row in (
        "| `--resume` *path* |   | Run folder to resume",
        "| `--json` |   | Print JSON. |",
        "| `--gpu` *text* | `H100` |",
        "sdar-gym data fetch",
        "sdar-gym play ENV [ARGUMENTS...] [OPTIONS]",
    ):
        assert row in page
    rows = [line for line in page.splitlines() if line.startswith("| `") and line.count(" | ") == 2]
    assert all(line.rstrip(" |").endswith((".", ")")) for line in rows), rows
