"""The site's hooks for links to the repository and for other hosts, without mkdocs; `make docs` builds the site."""

from __future__ import annotations

import logging
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def hook(name: str) -> Any:
    spec = spec_from_file_location(f"site_{name}", ROOT / "scripts" / "site" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sources() -> Any:
    module = hook("sources")
    module.published = module.Published(ROOT)
    module.published.add("CONTRIBUTING.md", "contributing.md")
    module.published.add("sdar_gym/text.py", "source/sdar_gym/text.py.md")
    module.published.lines_of["source/sdar_gym/text.py.md"] = 50
    return module


def rewritten(sources: Any, text: str, page: str) -> str:
    return sources.on_page_markdown(text, SimpleNamespace(file=SimpleNamespace(src_uri=page)), None, None)


def test_links_out_of_docs_lead_to_pages_of_the_site(sources: Any) -> None:
    for page, text, expected in (
        ("a.md", "[x](../CONTRIBUTING.md#rules)", "[x](contributing.md#rules)"),
        ("a/b.md", "[x](../../CONTRIBUTING.md)", "[x](../contributing.md)"),
        ("a.md", "[x](../sdar_gym/text.py#L7)", "[x](source/sdar_gym/text.py.md#__codelineno-0-7)"),
        ("contributing.md", "[x](docs/runs.md)", "[x](runs.md)"),
        ("contributing.md", "[x](docs/environments)", "[x](environments/README.md)"),
        ("a.md", '<img src="assets/logo.svg">', '<img src="assets/logo.svg">'),
        ("a.md", "[x](https://example.org) [y](#here)", "[x](https://example.org) [y](#here)"),
        ("a.md", "```\n[x](../CONTRIBUTING.md)\n```", "```\n[x](../CONTRIBUTING.md)\n```"),
    ):
        assert rewritten(sources, text, page) == expected


def test_a_link_named_after_a_definition_leads_to_its_line(sources: Any) -> None:
    lines = (ROOT / "sdar_gym" / "text.py").read_text(encoding="utf-8").splitlines()
    number = next(at for at, line in enumerate(lines, 1) if line.startswith("def well_formed"))
    assert rewritten(sources, "[`well_formed`](../sdar_gym/text.py)", "a.md").endswith(f"#__codelineno-0-{number})")
    assert rewritten(sources, "[the file](../sdar_gym/text.py)", "a.md") == "[the file](source/sdar_gym/text.py.md)"


def test_a_link_that_leads_nowhere_is_left_to_mkdocs(sources: Any) -> None:
    assert rewritten(sources, "[x](../no/such.py)", "a.md") == "[x](../no/such.py)"
    assert sources.resolve("docs/a.md", "../../outside.md") is None


def test_what_a_page_loads_from_another_host_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    offline = hook("offline")
    (tmp_path / "good.html").write_text('<a href="https://example.org">x</a><script src="a.js"></script>')
    (tmp_path / "good.css").write_text("a { background: url(data:image/svg+xml,x) }")
    with caplog.at_level(logging.WARNING):
        offline.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))
    assert not caplog.records
    (tmp_path / "a.html").write_text('<script defer src="https://unpkg.com/x.js"></script>')
    (tmp_path / "b.html").write_text('<link href="https://fonts.example.org/x" rel="stylesheet">')
    (tmp_path / "c.html").write_text('<pre class="mermaid">x</pre>')
    (tmp_path / "d.css").write_text('@import "https://example.org/x.css";')
    with caplog.at_level(logging.WARNING):
        offline.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))
    assert sorted(record.getMessage()[:6] for record in caplog.records) == ["a.html", "b.html", "c.html", "d.css "]
