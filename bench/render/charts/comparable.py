"""Which networks of a chart may share its axes, and a sentence on those that may not."""

from __future__ import annotations

from collections.abc import Sequence

from bench.metrics import METRICS
from bench.quantity import in_sentence
from bench.render.results.header import Model
from bench.render.results.table import Results

_NAMED = 8  # longer lists end with a count


def comparable(results: Results, models: Sequence[Model], metric: str) -> tuple[list[Model], str]:
    """The networks with a value above zero at the common batch size, and who is missing and why (or nothing)."""
    measured = [model for model in models if results.cell(model, metric).value > 0]
    smaller = [model for model in measured if results.cell(model, metric).asked_batch_size is not None]
    absent = [model.name for model in models if model not in measured]
    sentences = []
    if smaller:
        asked = results.cell(smaller[0], metric).asked_batch_size
        used = [f"{model.name} (batch {results.cell(model, metric).batch_size})" for model in smaller]
        sentences.append(f"Left out, as batch {asked} did not fit into memory: {listing(used)}.")
    if absent:
        sentences.append(f"No {in_sentence(METRICS[metric])} measured for {listing(absent)}.")
    return [model for model in measured if model not in smaller], " ".join(sentences)


def without_room(names: Sequence[str]) -> str:
    """A sentence on the points whose names found no place."""
    return f"No room for the names of {listing(names)}; the table has them." if names else ""


def listing(names: Sequence[str]) -> str:
    """ "a, b, c", or the first few "and 12 more"."""
    if len(names) <= _NAMED + 1:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"
