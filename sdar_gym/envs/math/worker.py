"""Process that compares expressions by math-verify: reads a pair of LaTeX texts a line, writes a result a line.

Started by `verifier.py` as a file, without the gym's package. It ends when its input does. An alarm ends it where a
comparison runs past the limit and nobody is left to end it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from typing import Any, TextIO

# More memory than any comparison needs; one that asks for more fails instead of filling the machine.
_MOST_MEMORY = 2 << 30
# A decimal that math-verify accepts must also agree in its leading digits: it rounds to six places after the point,
# which makes all small numbers equal.
_CLOSE = 1e-5


def _limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass  # The time limit is there in any case.


def _comparison() -> Any:
    logging.disable(logging.CRITICAL)
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
    from sympy import Basic, Float

    # Units are read before; here m is a variable.
    kept = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")
    targets = LatexExtractionConfig(normalization_config=kept), ExprExtractionConfig()

    def read(text: str) -> list[Any]:
        # Its own limits use signals of the main thread; the process that started this one has the limit.
        forms = parse(f"${text}$", targets, parsing_timeout=0)
        return [form for form in forms if isinstance(form, Basic) or hasattr(form, "shape")]

    def close(first: Any, second: Any) -> bool:
        if not (isinstance(first, Float) or isinstance(second, Float)):
            return True
        try:
            a, b = complex(first), complex(second)
        except (TypeError, ValueError):
            return True
        return abs(a - b) <= _CLOSE * max(abs(a), abs(b))

    def equal(gold: str, answer: str) -> bool:
        expected, found = read(gold), read(answer)
        if not expected or not found:
            return False
        alike = verify(expected, found, timeout_seconds=0, allow_set_relation_comp=True)
        return bool(alike) and close(expected[0], found[0])

    return equal


def main() -> None:
    """Serve comparisons until the input ends."""
    # What a library prints must not get between the results.
    out: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    equal = _comparison()
    equal(r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}")  # Builds the parser's tables and SymPy's caches.
    _limit_memory()
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # Another disposition is inherited from the parent.
    sys.setrecursionlimit(2000)
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        number, limit, gold, answer = json.loads(line)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, limit + 2)
        try:
            result = equal(_readable(gold), _readable(answer))
        except (Exception, RecursionError, MemoryError):
            result = False
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps([number, result]), file=out, flush=True)


def _readable(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("**", "^").replace("$", ""))


if __name__ == "__main__":
    main()
