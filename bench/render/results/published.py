"""What a documented experiment measured here, beside what its document says."""

from __future__ import annotations

from typing import Any

from bench.quantity import quantity
from bench.records.record import Record
from bench.records.run_folder import Run
from bench.render.results.table import read_results


def beside_published(run: Run) -> str:
    """ "<recipe>: test accuracy 0.894 after 5ep of cifar10; published 0.9017 (by whom)"; empty for any other run."""
    experiment = run.header.get("experiment")
    if not experiment:
        return ""
    results = read_results(run)
    cells = [results.cell(model, "top1") for model in results.models]
    return "\n".join(_line(cell.value, cell.records[-1], experiment) for cell in cells if cell.measured)


def _line(top1: float, row: Record, experiment: dict[str, Any]) -> str:
    parts = [f"{row.recipe}: test accuracy {quantity(top1, 'fraction')} after {row.budget} of {row.dataset}"]
    if row.budget != experiment["documented_budget"]:
        parts.append(f"documented are {experiment['documented_budget']} of {experiment['documented_dataset']}")
    value = experiment["published_top1"]
    parts.append(f"published {value} ({experiment['published']})" if value else experiment["published"])
    return "; ".join(parts)
