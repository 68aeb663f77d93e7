"""A few sentences that say what a run found, derived from its numbers alone."""

from __future__ import annotations

from collections.abc import Sequence

from bench.metrics import METRICS
from bench.quantity import listing, measured, quantity, with_unit
from bench.render.findings.efficiency import accuracy_front, work_and_time
from bench.render.results.header import Model
from bench.render.results.table import AccuracyGroup, Results
from bench.render.tables.marks import launch_bound
from bench.render.tables.subtitles import dataset_words

_ENOUGH = 5  # networks, below which there is no rule to speak of
_FEW = 4  # networks, which a sentence names
_CLOSE_TO_BEST = 0.9  # of the best accuracy: who reaches this with the fewest parameters?


def findings(results: Results) -> list[str]:
    """Sentences on the largest group of networks with an accuracy, or on costs where there is none; then on speed."""
    groups = results.accuracy_groups()
    sentences = _accuracy_findings(results, groups[0]) if groups else _cost_findings(results)
    sentences += _speed_findings(results, next(iter(results.tracks().values()), ()))
    return [sentence for sentence in sentences if sentence]


def _accuracy_findings(results: Results, group: AccuracyGroup) -> list[str]:
    telling = [model for model in group.models if not results.at_chance(model)]
    where = f"on {dataset_words(group)}" + (f" after a budget of {group.budget}" if group.budget else "")
    if not telling:
        chance = "" if group.chance is None else f" ({quantity(group.chance, 'fraction')})"
        return [f"No network does better than chance{chance} {where}."]
    if len(group.models) == 1:
        only = group.models[0]
        return [f"{only.name} reaches {_text(results, only, 'top1')} {where}; no other network was trained."]
    return [
        _most_accurate(results, telling, len(group.models), where),
        _most_per_operation(results, group.models, group.chance or 0.0),
        _fewest_params(results, telling),
    ]


def _most_accurate(results: Results, models: Sequence[Model], total: int, where: str) -> str:
    best = max(results.cell(model, "top1").value for model in models)
    first = [model for model in models if results.cell(model, "top1").value == best]
    if len(first) > 1:
        names = listing([model.name for model in first])
        return f"{names} share the highest accuracy of {total} networks {where}: {quantity(best, 'fraction')}."
    winner = results.cell(first[0], "top1")
    reached = _text(results, first[0], "top1")
    sentence = f"{first[0].name} is the most accurate of {total} networks {where}: {reached}."
    close = [m.name for m in models if m is not first[0] and results.cell(m, "top1").high >= winner.low]
    if close:
        overlaps = "overlaps with it" if len(close) == 1 else "overlap with it"
        who = listing(close) if len(close) <= _FEW else f"{len(close)} others"
        return f"{sentence} The 95 % interval{'' if len(close) == 1 else 's'} of {who} {overlaps}."
    return sentence


def _most_per_operation(results: Results, models: Sequence[Model], chance: float) -> str:
    counted = [model for model in models if results.cell(model, "macs").value > 0]
    if len(counted) < 2:
        return ""
    front = accuracy_front(results, counted, METRICS["macs"])
    rate = {
        i: (results.cell(counted[i], "top1").value - chance) / results.cell(counted[i], "macs").value for i in front
    }
    top = max(rate.values())
    names = [counted[i].name for i in front if rate[i] == top]
    gain = f"{top * 100 * 1e6:.3g} percentage points above chance per million MACs"
    if len(front) == 1:
        return f"{names[0]} is the whole Pareto front: it is both the most accurate and the cheapest in MACs."
    return (
        f"{len(front)} of {len(counted)} networks are on the Pareto front of accuracy against MACs; among "
        f"them {listing(names)} {'gains' if len(names) == 1 else 'gain'} most per operation: {gain}."
    )


def _fewest_params(results: Results, models: Sequence[Model]) -> str:
    best = max(results.cell(model, "top1").value for model in models)
    close = [m for m in models if results.cell(m, "top1").value >= _CLOSE_TO_BEST * best]
    close = [model for model in close if results.cell(model, "params").measured]
    if not close:
        return ""
    fewest = min(results.cell(model, "params").value for model in close)
    chosen = [model for model in close if results.cell(model, "params").value == fewest]
    share = f"{_CLOSE_TO_BEST:.0%} of the best accuracy".replace("%", " %")
    if len(close) == 1:  # the best itself
        return ""
    reached = listing([quantity(results.cell(model, "top1").value, "fraction") for model in chosen])
    return (
        f"Of the {len(close)} networks that reach {share}, {listing([model.name for model in chosen])} "
        f"{'has' if len(chosen) == 1 else 'have'} the fewest parameters: {quantity(fewest, 'count')}, "
        f"for {reached}."
    )


def _cost_findings(results: Results) -> list[str]:
    """The extremes of a run without accuracies, within its largest track."""
    tracks = results.tracks()
    if not tracks:
        return []
    models = max(tracks.values(), key=len)
    sentences = []
    for name, words in (
        ("params", "the fewest parameters"),
        ("macs", "the fewest MACs"),
        ("inference_images_per_s", "the highest inference throughput"),
    ):
        cells = {model.name: results.cell(model, name).value for model in models if results.cell(model, name).competes}
        if len(cells) < 2:
            continue
        best = min(cells.values()) if METRICS[name].better == "lower" else max(cells.values())
        first = [model for model, value in cells.items() if value == best]
        amount = with_unit(best, METRICS[name].unit)
        verb = "has" if len(first) == 1 else "have"
        sentences.append(f"{listing(first)} {verb} {words} of {len(cells)} {models[0].track} networks: {amount}.")
    return sentences


def _speed_findings(results: Results, models: Sequence[Model]) -> list[str]:
    """How far MACs tell the time of a network of one track, and how many networks keep the device waiting."""
    if len(models) < _ENOUGH:
        return []
    timed = [
        m for m in models if results.cell(m, "macs").value > 0 and results.cell(m, "inference_images_per_s").value > 0
    ]
    found = work_and_time(results, [m for m in timed if not results.cell(m, "inference_images_per_s").asked_batch_size])
    sentences = []
    if found is not None and found.networks >= _ENOUGH:
        sentences.append(f"{found.correlation_sentence} {found.outlier_sentence}".strip())
    clocked = [model for model in models if results.cell(model, "train_device_ms").measured]
    waiting = [model for model in clocked if launch_bound(results, model, "train_device_ms")]
    if waiting:
        verb = "is" if len(waiting) == 1 else "are"
        sentences.append(
            f"{len(waiting)} of {len(clocked)} {models[0].track} networks {verb} launch-bound in training: the device "
            "waits for the host."
        )
    return sentences


def _text(results: Results, model: Model, metric: str) -> str:
    cell = results.cell(model, metric)
    return measured(cell.value, cell.low, cell.high, METRICS[metric].unit)
