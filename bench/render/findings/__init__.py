"""What a run found, in a few sentences that a reader can act on, derived from its numbers alone; and what it lacks.

ranking  significant differences, budgets, Pareto fronts;  pick  who meets limits;  machine  its limits and their use
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.metrics import DERIVED, METRICS
from bench.quantity import in_sentence, listing, ordinal, quantity, with_unit
from bench.records.record import Record
from bench.render.findings.machine import work_and_time
from bench.render.findings.pick import ACCURACIES, parse_limits, select
from bench.render.results import NOT_RUN, AccuracyGroup, Results
from bench.render.results.networks import Model, written_name
from bench.render.results.views import as_published, short_training, to_be_trained, trained_otherwise, whose
from bench.render.tables import budget_words, dataset_words, launch_bound
from bench.stats import rank_correlation

_ENOUGH = 5  # networks, below which there is no rule to speak of
_FEW = 3  # networks or pairs, which a sentence names
_CLOSE = 0.01  # in accuracy: the network with the fewest parameters that is so near to the best is named
_LATENCIES_MS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


def summary_of(results: Results) -> tuple[list[str], list[str]]:
    """Sentences on accuracies, published and after a short training, or else on costs; then on speed.

    The first ones say the same on every machine, the second ones depend on the one that measured.
    """
    headline: list[str] = []
    published = as_published(results)
    if published and len(published[1].models) > 2:
        headline += _comparison(*published, "After full training (published)")
    if view := short_training(results):
        trained, group = view
        where = f"After {budget_words(group.budget)} on {dataset_words(group)}"
        headline += _comparison(trained, group, where)
        headline += _own(trained, group)
        headline += _trust(results, trained, group)
        headline += _otherwise(results, group) if group.elsewhere else []
    elif groups := results.accuracy_groups():
        headline += _few_networks(results, groups[0])
    here = [*_under_a_latency(results), *_speed(results, next(iter(results.tracks().values()), ()))]
    return headline or _costs(results), here


def _comparison(results: Results, group: AccuracyGroup, where: str) -> list[str]:
    """The best, what comes close with the fewest parameters, and what is beaten in everything."""
    telling = [model for model in group.models if not results.at_chance(model)]
    if not telling:
        return []
    return [
        sentence
        for sentence in (
            _most_accurate(results, group, telling, where),
            _smallest_close_to_the_best(results, telling),
            _dominated(results, telling),
            _at_chance(results, [model for model in group.models if model not in telling], group),
        )
        if sentence
    ]


def _most_accurate(results: Results, group: AccuracyGroup, models: Sequence[Model], where: str) -> str:
    best = max(results.cell(model, "top1").value for model in models)
    first = [model for model in models if results.cell(model, "top1").value == best]
    number = f"{len(models)} networks" + (f" ({whose(group, models)})" if group.elsewhere else "")
    if len(first) > 1:
        names = listing([written_name(model) for model in first])
        return f"{where}, {names} share the highest accuracy of {number}: {quantity(best, 'fraction')}."
    winner = results.cell(first[0], "top1")
    reached = results.cell(first[0], "top1").text
    sentence = f"{where}, {written_name(first[0])} is the most accurate of {number}: {reached}"
    close = [written_name(m) for m in models if m is not first[0] and results.cell(m, "top1").high >= winner.low]
    if not close:
        return f"{sentence}."
    those = f"interval of {close[0]} overlaps" if len(close) == 1 else f"intervals of {listing(close, _FEW)} overlap"
    return f"{sentence}; the 95 % {those} with its own."


def _smallest_close_to_the_best(results: Results, models: Sequence[Model]) -> str:
    best = max(results.cell(model, "top1").value for model in models)
    close = [
        model
        for model in models
        if results.cell(model, "top1").value >= best - _CLOSE and results.cell(model, "params").measured
    ]
    if len(close) < 2:
        return ""
    fewest = min(results.cell(model, "params").value for model in close)
    small = [model for model in close if results.cell(model, "params").value == fewest]
    accuracy = f", {results.cell(small[0], 'top1').text}" if len(small) == 1 else ""
    return (
        f"The smallest within one percentage point of the best: {listing([written_name(m) for m in small], _FEW)} with "
        f"{quantity(fewest, 'count')} parameters{accuracy}."
    )


def _dominated(results: Results, models: Sequence[Model]) -> str:
    """Networks than which another is more accurate, beyond the intervals, with no more MACs and parameters.

    Each with the most accurate of those.
    """
    pairs = [(model, by) for model in models if (by := _beaten_by(results, model, models)) is not None]
    if not pairs:
        return ""
    pairs.sort(key=lambda pair: -results.cell(pair[0], "macs").value)
    named = [f"{written_name(model)} (by {written_name(by)})" for model, by in pairs]
    return f"Dominated (another is more accurate with no more MACs and parameters): {listing(named, _FEW)}."


def _beaten_by(results: Results, model: Model, others: Sequence[Model]) -> Model | None:
    """The most accurate of those that cost no more and are more accurate, beyond the intervals; None without one."""

    def beats(other: Model) -> bool:
        least, most = results.cell(other, "top1").span[0], results.cell(model, "top1").span[2]
        return least > most and all(  # never of a cost that was not counted: it is nan
            results.cell(other, name).value <= results.cell(model, name).value for name in ("macs", "params")
        )

    return max(filter(beats, others), key=lambda other: results.cell(other, "top1").value, default=None)


def _own(results: Results, group: AccuracyGroup) -> list[str]:
    """Where the user's own networks stand among the classics: the rank, and what beats each at no more cost."""
    own = [model for model in group.models if model.own]
    if len(own) == len(group.models) or len(own) > _FEW:
        return []
    said = []
    for model in own:
        top1 = results.cell(model, "top1")
        place = 1 + sum(results.cell(other, "top1").value > top1.value for other in group.models)
        by = _beaten_by(results, model, [m for m in group.models if not results.at_chance(m)])
        better = f"{written_name(by)} is" if by else "no network is significantly"
        said.append(
            f"{written_name(model)} is {ordinal(place)} of {len(group.models)} with {top1.text}; "
            f"{better} more accurate with no more MACs and parameters."
        )
    return said


def _at_chance(results: Results, models: Sequence[Model], group: AccuracyGroup) -> str:
    if not models or group.chance is None:
        return ""
    names = listing([written_name(model) for model in models], _FEW)
    return f"No better than chance ({quantity(group.chance, 'fraction')}) so far: {names}."


def _otherwise(results: Results, group: AccuracyGroup) -> list[str]:
    """What the run has trained itself that is not in a comparison with references, and why not."""
    models, differing = trained_otherwise(results, group)
    if not models:
        return []
    reached = [
        f"{written_name(model)} ({results.cell(model, 'top1').text}"
        + (", no better than chance)" if results.at_chance(model) else ")")
        for model in models
    ]
    return [f"Trained here with another {listing(differing)}, and so not in the comparison: {listing(reached, _FEW)}."]


def _trust(results: Results, trained: Results, group: AccuracyGroup) -> list[str]:
    """How far a short training ranks networks as full training does on the same images, and as another seed would."""
    both = [
        model
        for model in group.models
        for row in results.cell(model, "published_top1").records
        if row.value is not None and _same_images(row.dataset, group.dataset)
    ]
    if len(both) < _ENOUGH:
        return []
    short = [trained.cell(model, "top1").value for model in both]
    full = [results.cell(model, "published_top1").value for model in both]
    once = all(len(trained.cell(model, "top1").records) == 1 for model in group.models)
    seeds = "each network was trained once, and ± does not cover another seed; " if once else ""
    return [
        f"How far to trust that: {seeds}over {len(both)} networks, the ranks after {budget_words(group.budget)} and "
        f"after full training (published) have a correlation of {rank_correlation(short, full):.2f}; 1 would be the "
        "same order, 0 none."
    ]


def _same_images(published: str | None, trained: str) -> bool:
    """Whether a published accuracy on "CIFAR-10" is of the images that a run calls "cifar10" or "cifar10-jpeg"."""
    return (published or "").lower().replace("-", "") == trained.partition("-")[0]


def _few_networks(results: Results, group: AccuracyGroup) -> list[str]:
    """Where there is no comparison: what the one or two networks reach, or that nobody does better than chance."""
    training = f"{budget_words(group.budget)} on {dataset_words(group)}"
    where = f"after {training}"
    telling = [model for model in group.models if not results.at_chance(model)]
    if not telling:
        chance = "" if group.chance is None else f" ({quantity(group.chance, 'fraction')})"
        return [f"No network does better than chance{chance} {where}: too short a training to compare anything."]
    due = to_be_trained(results, group.track)
    if len(group.models) < len(due) / 2:
        return [
            f"Only {len(group.models)} of {len(due)} networks of the {group.track} track were trained ({training}): "
            "those that train fast, too few to compare."
        ]
    if len(group.models) == 1:
        reached = results.cell(telling[0], "top1").text
        return [f"{written_name(telling[0])} reaches {reached} {where}; no other network was trained."]
    return _comparison(results, group, where[0].upper() + where[1:])


def _under_a_latency(results: Results) -> list[str]:
    """The most accurate network under a round latency that about half of a track's networks keep."""
    sentences = []
    for track, models in results.tracks().items():
        timed = [model for model in models if results.cell(model, "latency_ms").measured]
        kinds = [k for k in ACCURACIES if sum(results.cell(model, k).measured for model in timed) >= _ENOUGH]
        if not kinds:
            continue
        kind = kinds[0]
        ordered = sorted(results.cell(model, "latency_ms").value for model in timed)
        middle = ordered[len(ordered) // 2]
        bound = min(_LATENCIES_MS, key=lambda ms: abs(ms - middle))
        selection = select(results, parse_limits([f"latency_ms={bound:g}"], "max"), track, kind)
        within = [choice for choice in selection.choices if not choice.uncertain]
        if within:
            best = within[0].model
            sentence = (
                f"Under {bound:g} ms for one image, the most accurate of the {selection.considered} {track} networks "
                f"with a {in_sentence(METRICS[kind])} is {_accuracy_and_latency(results, best, kind)}."
            )
            if (first := selection.choices[0].model) != best:
                maybe = _accuracy_and_latency(results, first, kind)
                sentence += f" More accurate, but not surely as fast: {maybe}."
            sentences.append(sentence)
    return sentences


def _accuracy_and_latency(results: Results, model: Model, kind: str) -> str:
    latency = results.cell(model, "latency_ms")
    unsettled = " (timing had not settled)" if "unsteady" in latency.flags else ""
    return f"{written_name(model)}: {results.cell(model, kind).text}, latency {latency.text} ms{unsettled}"


def _costs(results: Results) -> list[str]:
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
        cells = {model: results.cell(model, name).value for model in models if results.cell(model, name).competes}
        if len(cells) < 2:
            continue
        best = min(cells.values()) if METRICS[name].better == "lower" else max(cells.values())
        first = [written_name(model) for model, value in cells.items() if value == best]
        amount = with_unit(best, METRICS[name].unit)
        verb = "has" if len(first) == 1 else "have"
        sentences.append(f"{listing(first)} {verb} {words} of {len(cells)} {models[0].track} networks: {amount}.")
    return sentences


def _speed(results: Results, models: Sequence[Model]) -> list[str]:
    """How far MACs tell the time of a network of one track, and how many networks keep the device waiting."""
    if len(models) < _ENOUGH:
        return []
    found = work_and_time(results, models)
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


_ORDER = ("failed", "timeout", "oom", "unreadable", NOT_RUN, "skipped")


@dataclass(frozen=True)
class Remark:
    """One reason and everything that it applies to."""

    status: str
    reason: str
    models: tuple[str, ...]
    probes: tuple[str, ...]


def problems(results: Results, unreadable: Sequence[str] = ()) -> list[Remark]:
    """Every row without a value, grouped by status and reason; failures before what was skipped."""
    found = _grouped((record for record in results.records if record.status != "ok"), results.header.other_budgets)
    recorded = {record.model for record in results.records}
    waiting = tuple(model.name for model in results.models if model.name not in recorded)
    if waiting:
        found.append(Remark(NOT_RUN, "The run has not measured these networks yet.", waiting, ()))
    if unreadable:
        reason = "These files of the run are damaged and left out."
        found.append(Remark("unreadable", reason, tuple(unreadable), ("accuracy",)))
    return sorted(found, key=lambda remark: _ORDER.index(remark.status))


def remarks(results: Results) -> dict[str, list[Remark]]:
    """The notes of rows that have a value, by probe.

    Rounds and metrics of one network whose notes differ in nothing but their numbers are one remark: "the device works
    31 to 34% of the step".
    """
    merged: dict[tuple[str, str, str], list[str]] = {}  # probe, network, remark without its numbers
    noted = [record for record in results.records if record.status == "ok" and record.note]
    known = {(record.model, part) for record in noted if record.probe != DERIVED for part in record.note.split("; ")}
    for record in noted:
        parts = record.note.split("; ")
        if record.probe == DERIVED:  # what is computed from a timing repeats its remarks
            parts = [part for part in parts if (record.model, part) not in known]
        if note := "; ".join(parts):
            merged.setdefault((record.probe, record.model, _NUMBER.sub("#", note)), []).append(note)
    said: dict[str, dict[str, list[str]]] = {}
    for (probe, model, _), notes in merged.items():
        said.setdefault(probe, {}).setdefault(_in_one(notes), []).append(model)
    return {
        probe: [Remark("ok", note, tuple(models), (probe,)) for note, models in by_note.items()]
        for probe, by_note in said.items()
    }


def named(results: Results, models: Sequence[str]) -> str:
    """The networks of a remark; "all 20" where they are those of the whole run, "all 18 of cifar" of a track."""
    left, tracks = dict.fromkeys(models), []
    if len(left) > 2 and left.keys() >= {model.name for model in results.models}:
        return f"all {len(left)}"
    for track, members in results.tracks().items():
        names = [model.name for model in members]
        if len(names) > 2 and left.keys() >= set(names):
            tracks.append(f"all {len(names)} of {track}")
            left = {name: None for name in left if name not in names}
    return ", ".join((*tracks, *left))


_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def _in_one(notes: Sequence[str]) -> str:
    """Notes with the same words as one: where their numbers differ, the least and the largest."""
    words = _NUMBER.split(notes[0])
    columns = zip(*map(_NUMBER.findall, notes), strict=True)
    ranges = [
        " to ".join(dict.fromkeys((ordered[0], ordered[-1])))
        for ordered in (sorted(column, key=lambda number: float(number.replace(",", ""))) for column in columns)
    ]
    return words[0] + "".join(number + word for number, word in zip(ranges, words[1:], strict=True))


def _grouped(records: Iterable[Record], other_budgets: Sequence[str]) -> list[Remark]:
    """Reasons of what was skipped are one where only their numbers differ: "it would take about 2 to 26 min here"."""
    groups: dict[tuple[str, str], tuple[list[str], dict[str, None], dict[str, None]]] = {}
    for record in records:
        kind = _NUMBER.sub("#", record.note) if record.status == "skipped" else record.note
        notes, models, probes = groups.setdefault((record.status, kind), ([], {}, {}))
        notes.append(record.note)
        models[record.model] = None
        probes[f"{record.probe} under {record.budget}" if record.budget in other_budgets else record.probe] = None
    return [
        Remark(status, _in_one(notes) or "no reason recorded", tuple(models), tuple(probes))
        for (status, _), (notes, models, probes) in groups.items()
    ]
