"""The site's hook for GitHub's Markdown: lists, comments, flowcharts and pictures for two color schemes."""

from __future__ import annotations

import logging
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hook() -> Any:
    spec = spec_from_file_location("site_markdown", ROOT / "scripts" / "site" / "markdown.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_list_right_below_a_paragraph_gets_a_blank_line_and_levels_of_four_spaces(hook: Any) -> None:
    assert hook.blocks("text\n- one\n  more\n  - inner\n- two\n\ntext") == (
        "text\n\n- one\n    more\n    - inner\n- two\n\ntext"
    )
    assert hook.blocks("1. one\n   more\n2. two") == "1. one\n    more\n2. two"


def test_a_bar_in_code_of_a_table_needs_no_backslash(hook: Any) -> None:
    assert hook.blocks("| `a \\|= b` | c \\| d |") == "| `a |= b` | c \\| d |"


def test_code_is_left_alone_and_a_comment_stands_apart(hook: Any) -> None:
    for code in ("```\ntext\n- no list\n  - here\n```", "text\n\n    L = a\n        + b\n    c"):
        assert hook.blocks(code) == code
    assert hook.blocks("<!-- made -->\n| a |") == "\n<!-- made -->\n\n| a |"


def test_a_flowchart_becomes_a_chain(hook: Any, caplog: pytest.LogCaptureFixture) -> None:
    chart = hook.flowchart("flowchart LR\n  A[one] --> B[two<br>] -- by this --> C[three]\n", "page.md")
    assert chart == (
        '<ol class="flow"><li data-by=""><code>one</code></li><li data-by=""><code>two&lt;br&gt;</code></li>'
        '<li data-by="by this"><code>three</code></li></ol>'
    )
    with caplog.at_level(logging.WARNING):
        assert hook.flowchart("flowchart TD\n  A[one] --> B[two]", "page.md") == ""
    assert "page.md has a flowchart that is no chain" in caplog.text


def test_a_picture_becomes_one_for_each_color_scheme(hook: Any) -> None:
    picture = (
        '<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="a-dark.svg">\n'
        '  <img src="a-light.svg" width="9" alt="Text.">\n</picture>'
    )
    assert hook.both_schemes(picture) == (
        '<img src="a-light.svg#only-light" width="9" alt="Text.">\n'
        '<img src="a-dark.svg#only-dark" width="9" alt="Text.">'
    )
