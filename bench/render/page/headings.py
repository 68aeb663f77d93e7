"""Sentences that report.md and index.html share: title, conditions, warnings, what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from bench.metrics import METRICS, probe_named
from bench.render.charts import Chart
from bench.render.results import Results
from bench.render.tables.subtitles import dataset_words

_WIDE = 0.5  # an interval over its value
_OFTEN = 0.2  # of the timings of a run
TITLE = "What each classic network costs, and what it buys"


def conditions_line(results: Results) -> str:
    """Data, budget, seeds, precision, device, library, date and commit of a run, as far as they are known."""
    header = results.header
    groups = results.accuracy_groups()
    datasets = dict.fromkeys(dataset_words(group) for group in groups)
    seeds = "" if header.seeds is None else f"{header.seeds} seed{'' if header.seeds == 1 else 's'}"
    words = (
        " and ".join(datasets),
        f"budget {header.budget}" if header.budget and groups else "",
        seeds if groups else "",
        str(header.execution),
        header.device,
        f"PyTorch {header.environment['torch']}" if header.environment.get("torch") else "",
        header.date,
        f"commit {header.environment['commit'][:12]}" if header.environment.get("commit") else "",
    )
    return " · ".join(word for word in words if word)


def warning(results: Results) -> str:
    """What a reader must know before any number; empty where there is nothing."""
    return " ".join(
        sentence
        for sentence in (forced_warning(results), synthetic_warning(results), noise_warning(results))
        if sentence
    )


def forced_warning(results: Results) -> str:
    """That parts of the run were not made alike, and in what they differ; empty where they were."""
    differences = dict.fromkeys(results.header.forced)
    if not differences:
        return ""
    return (
        "Resumed with --force: not all numbers of this run were measured under the same conditions "
        f"({'; '.join(differences)})."
    )


def noise_warning(results: Results) -> str:
    """That many timings of the run scatter widely or had not settled; empty where few do."""
    timings = [
        cell
        for (_, metric), cell in results.cells.items()
        if cell.measured and metric in METRICS and probe_named(METRICS[metric].probe).when == "rounds"
    ]
    noisy = [cell for cell in timings if "unsteady" in cell.flags or cell.high - cell.low > _WIDE * cell.value]
    if len(noisy) < _OFTEN * len(timings) or len(noisy) < 3:
        return ""
    return (
        f"Noisy timings: {len(noisy)} of {len(timings)} had not settled or have an interval wider than half of their "
        "value. The machine was probably busy; compare timings by their intervals only."
    )


def synthetic_warning(results: Results) -> str:
    """What accuracies on generated images do not mean; empty where all accuracies are on real images."""
    groups = [group for group in results.accuracy_groups() if group.synthetic]
    if not groups:
        return ""
    names = " and ".join(dict.fromkeys(group.dataset for group in groups))
    tracks = " and ".join(dict.fromkeys(f"{group.track} track" for group in groups))
    stands_for = {"cifar": "CIFAR-10", "mnist": "MNIST"}
    real = " or ".join(dict.fromkeys(stands_for.get(group.track, "photograph") for group in groups))
    return (
        f"Synthetic images: the accuracies of the {tracks} are on generated images ({names}). "
        f"They are not {real} accuracies and must not be compared with published ones."
    )


def missing_charts(results: Results, charts: Sequence[Chart]) -> list[str]:
    """A sentence for each kind of chart that this run cannot have."""
    kinds = {chart.kind for chart in charts}
    trained = sum(len(group.models) for group in results.accuracy_groups())
    sentences = []
    if trained == 0:
        sentences.append("No accuracy was measured, so the charts of accuracy against cost are left out.")
    elif not kinds & {"ball", "scatter"}:
        sentences.append(
            "No two networks have both an accuracy on the same data and a cost, so the charts that compare "
            "them are left out."
        )
    if trained and "curves" not in kinds:
        sentences.append("No training curves were kept, so they are not drawn.")
    return sentences
