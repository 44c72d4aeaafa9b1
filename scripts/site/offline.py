"""Offline check of the site: no page loads a script, style, font or picture from another host.

A hook of mkdocs. What it finds is a warning, which `mkdocs build --strict` turns into a failure.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

LOG = logging.getLogger("mkdocs.hooks.offline")
LOADED = re.compile(
    r"<(?:script|img|source|iframe|video|audio)\b[^>]*\bsrc(?:set)?=[\"']?(?:https?:)?//[^\"'\s>]+"
    r"|<link\b(?=[^>]*rel=[\"']?(?:stylesheet|preconnect|preload|prefetch|icon))[^>]*href=[\"']?(?:https?:)?//[^\"'\s>]+"
    r"|class=[\"']?mermaid\b"  # The theme's script would fetch its own library for it.
)
IMPORTED = re.compile(r"@import\s+[^;]*https?://[^;]+|url\([\"']?(?:https?:)?//[^)]+")


def on_post_build(config: MkDocsConfig) -> None:
    """Look through the pages and styles that were written."""
    site = Path(config.site_dir)
    for pattern, ending in ((LOADED, "*.html"), (IMPORTED, "*.css")):
        for path in sorted(site.rglob(ending)):
            for found in pattern.finditer(path.read_text(encoding="utf-8")):
                LOG.warning("%s loads something from another host: %s", path.relative_to(site), found[0])
