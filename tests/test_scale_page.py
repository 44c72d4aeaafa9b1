"""The page of runs on many machines has the numbers of the committed results."""

from __future__ import annotations

import json

import scale_page  # pyright: ignore[reportMissingImports]


def test_the_committed_page_has_the_numbers_of_the_results() -> None:
    assert scale_page.PAGE.read_text(encoding="utf-8") == scale_page.page(*scale_page.read()), (
        "docs/scale.md does not have the numbers of benchmarks/results: run python scripts/scale_page.py"
    )


def test_another_result_changes_the_page() -> None:
    results, retrieval = json.loads(json.dumps(scale_page.read()))
    for run in results["measure"]["runs"].values():
        run["measured"] = 1234.5
    assert "| 1234.50 |" in scale_page.page(results, retrieval)
