"""Generated pages: the command line of the scripts beside this one, which write documentation from code or results."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_pages(script: str | None, pages: Mapping[Path, str], arguments: Sequence[str] | None = None) -> int:
    """Write pages, or say with `--check` which are out of date.

    Args:
        script: Docstring of the script.
        pages: Contents by path.
        arguments: Of the command line; by default those of the process.

    Returns:
        The exit status: 1 for `--check` with a page that is out of date.
    """
    parser = argparse.ArgumentParser(description=(script or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    options = parser.parse_args(arguments)
    stale = [path for path, text in pages.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale if not options.check else ():
        path.write_text(pages[path], encoding="utf-8")
    names = ", ".join(path.name for path in stale or pages)
    print(f"{'up to date' if not stale else 'out of date' if options.check else 'written'}: {names}")
    return int(options.check and bool(stale))
