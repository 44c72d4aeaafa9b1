"""Tables of a study: means and paired differences over seeds, intervals, corrected tests, detectable effects."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from sdar_gym.reproduce.study import Part

# What a study of these seeds would find in four of five cases.
_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference over seeds.

    Attributes:
        values: Of each seed.
        mean: Their mean.
        half: Half the width of the 95 % t interval of the mean; NaN with one seed.
        p: Of the two-sided paired t test; NaN with one seed.
        detectable: The true difference that would be found with 80 % probability at this spread; NaN with one seed.
        ahead: Seeds with a positive difference.
    """

    values: tuple[float, ...]
    mean: float
    half: float
    p: float
    detectable: float
    ahead: int


def difference(values: Sequence[float]) -> Difference:
    """The statistics of paired differences.

    Args:
        values: One a seed.
    """
    count, mean = len(values), statistics.fmean(values)
    half = p = detectable = math.nan
    if count > 1:
        error = statistics.stdev(values) / math.sqrt(count)
        quantile = float(stats.t.ppf(0.975, count - 1))
        half, detectable = quantile * error, (quantile + float(stats.t.ppf(_POWER, count - 1))) * error
        p = (
            1.0
            if error == 0 and mean == 0
            else 0.0
            if error == 0
            else float(2 * stats.t.sf(abs(mean) / error, count - 1))
        )
    return Difference(tuple(values), mean, half, p, detectable, sum(value > 0 for value in values))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Corrects p values for their number by Holm's step-down method.

    Source: Holm (1979), Scandinavian Journal of Statistics 6.

    Args:
        p_values: By name; NaN stays and does not count.
    """
    known = sorted((p, name) for name, p in p_values.items() if not math.isnan(p))
    corrected = dict(p_values)
    largest = 0.0
    for place, (p, name) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - place)))
        corrected[name] = largest
    return corrected


def part_table(part: Part, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row an arm: success, its paired difference to the baseline arm, and what the runs were like.

    Args:
        part: The part.
        rows: Results of its test runs.

    Returns:
        Rows in JSON types, in the order of the arms; arms without runs are left out. Intervals of one seed are None.
    """
    by_arm = {arm.name: {row["seed"]: row for row in rows if row["arm"] == arm.name} for arm in part.arms}
    result: list[dict[str, Any]] = []
    for arm in part.arms:
        runs = by_arm[arm.name]
        if not runs:
            continue
        success = difference([run["success"] for run in runs.values()])
        row: dict[str, Any] = {
            "arm": arm.name,
            "tuned": arm.tuned,
            "value": next(iter(runs.values()))["value"],
            "seeds": len(runs),
            "success": success.mean,
            "success_half": success.half,
            "training_success": statistics.fmean(run["training_success"] for run in runs.values()),
            "cpu_seconds": statistics.median(run["cpu_seconds"] for run in runs.values()),
        }
        shares = [run["distill_gradient_share"] for run in runs.values() if "distill_gradient_share" in run]
        if shares:
            # The median: where a batch has nearly no policy gradient, the share is huge.
            row["distill_gradient_share"] = statistics.median(shares)
        pairs = [
            (run, by_arm[part.baseline][seed]) for seed, run in runs.items() if seed in by_arm.get(part.baseline, {})
        ]
        if arm.name != part.baseline and pairs:
            end = difference([run["success"] - base["success"] for run, base in pairs])
            course = difference([run["training_success"] - base["training_success"] for run, base in pairs])
            row |= {
                "baseline": part.baseline,
                "difference": end.mean,
                "difference_half": end.half,
                "differences": list(end.values),
                "p": end.p,
                "detectable": end.detectable,
                "ahead": end.ahead,
                "training_difference": course.mean,
                "training_difference_half": course.half,
            }
        result.append(row)
    corrected = holm({row["arm"]: row["p"] for row in result if "p" in row})
    for row in result:
        if "p" in row:
            row["p_holm"] = corrected[row["arm"]]
    return [{name: None if _is_nan(value) else value for name, value in row.items()} for row in result]


def markdown(table: Sequence[Mapping[str, Any]]) -> str:
    """The table for a page.

    Args:
        table: Of `part_table`.
    """
    (baseline,) = {row["baseline"] for row in table if "baseline" in row} or {"baseline"}
    columns = (
        "arm", "chosen", "success", f"− {baseline}", "seeds ahead", "p (Holm)", "detectable", f"training − {baseline}",
        "share", "CPU-s",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in table:
        compared = "difference" in row
        cells = [
            row["arm"],
            "" if row["value"] is None else f"{row['tuned'].rpartition('.')[2]} {row['value']}",
            _mean(row, "success", ".3f", "success_half"),
            _mean(row, "difference", "+.3f", "difference_half"),
            f"{row['ahead']} of {row['seeds']}" if compared else "",
            _mean(row, "p_holm", ".3f"),
            _mean(row, "detectable", ".3f"),
            _mean(row, "training_difference", "+.3f", "training_difference_half"),
            _mean(row, "distill_gradient_share", ".2f"),
            f"{row['cpu_seconds']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(row: Mapping[str, Any], name: str, form: str, half: str = "") -> str:
    """A number with its interval; empty, or without, where one seed does not say."""
    value, width = row.get(name), row.get(half)
    if value is None:
        return ""
    return f"{value:{form}}" + ("" if width is None else f" ± {width:.3f}")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
