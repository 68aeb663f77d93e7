"""Published claims on efficiency and accuracy, each tested on the records of a run.

A claim is tested at one input size or at both: on the 224×224 networks, which most claims are about, and on 32×32 ones.
claims.csv has the claims;  lecture, canziani: their tests, by author.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from bench.config import Budget
from bench.metrics import METRICS
from bench.quantity import listing, quantity, with_unit
from bench.render.results import AccuracyGroup, Cell, Results, inert
from bench.render.results.kept import Layers
from bench.render.results.networks import IMAGENET, Model, with_written_names
from bench.render.results.views import as_published, with_references

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
VGGS = ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")
LECTURE = ("alexnet", *VGGS, "googlenet", *RESNETS)  # the networks that the lecture's chart compares
# The network at 32x32 on which a claim about a 224x224 network is tested.
SMALL_TWINS = {
    **{name: f"{name}_cifar" for name in ("alexnet", "zfnet", "nin", "googlenet", *RESNETS)},
    **{name: f"{name.removesuffix('_bn')}_bn_cifar" for name in VGGS},
    "squeezenet1_0": "squeezenet_cifar",
}


@dataclass(frozen=True)
class Setting:
    """The networks of one track of a run. Networks go by their name at 224x224, whatever the setting."""

    results: Results  # with published accuracies where the run cannot have its own
    track: str  # "imagenet" or "cifar"
    accuracy_source: str  # "published", or "cifar10 after 5ep"
    trained: frozenset[str]  # the networks whose accuracies may be compared
    layers: Mapping[str, Layers] = field(default_factory=dict)

    @property
    def large(self) -> bool:
        return self.track == IMAGENET

    @property
    def models(self) -> tuple[Model, ...]:
        return self.results.tracks().get(self.track, ())

    def name(self, network: str) -> str:
        """What stands for a network here; its own name where nothing else does."""
        return network if self.large else SMALL_TWINS.get(network, network)

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(model.name for model in self.models)

    def value(self, network: str, metric: str) -> float:
        """nan where it was not measured here; an accuracy also where it may not be compared with the others."""
        name = self.name(network)
        if name not in (self.trained if metric == "top1" else self._names):
            return math.nan
        return self.results.cell(name, metric).value

    def cell(self, network: str, metric: str) -> Cell:
        """As `value`, with its interval and records."""
        return self.results.cell(self.name(network), metric)

    def having(self, networks: Iterable[str], *metrics: str) -> list[str]:
        """Those of some networks, by the names that they have here, that have all of some metrics, above zero."""
        names = dict.fromkeys(self.name(network) for network in networks)
        return [name for name in names if all(self.value(name, metric) > 0 for metric in metrics)]

    def has_all(self, networks: Sequence[str], *metrics: str) -> bool:
        return len(self.having(networks, *metrics)) == len(networks)

    def all_having(self, *metrics: str) -> list[str]:
        return self.having((model.name for model in self.models), *metrics)

    def among(self, names: Iterable[str], networks: Sequence[str]) -> list[str]:
        """Those of some names here that stand for one of some networks, such as VGGS."""
        standing = {self.name(network) for network in networks}
        return [name for name in names if name in standing]

    def said(self, network: str, metric: str) -> str:
        """Such as "vgg16 138 M"."""
        return f"{self.name(network)} {amount(self.value(network, metric), metric)}"

    def against(self, network: str, other: str) -> tuple[float, str]:
        """How many times a network's parameters the other has, with both numbers; nan without one of them."""
        first = self.value(network, "params")
        ratio = self.value(other, "params") / first if first > 0 else math.nan
        return ratio, f"{self.said(network, 'params')}, {self.said(other, 'params')}: {short(ratio)} times"

    def ms_per_image(self, network: str) -> float:
        return 1e3 / self.value(network, "inference_images_per_s")

    def watts(self, network: str) -> float:
        return self.value(network, "energy_joules_per_image") * self.value(network, "inference_images_per_s")


def amount(value: float, metric: str) -> str:
    """A number of a metric as people read it."""
    return with_unit(value, METRICS[metric].unit).removesuffix(" per image")


def settings(results: Results, layers: Mapping[str, Layers]) -> dict[str, Setting]:
    """The two input sizes that claims are about; a setting may be without networks.

    Accuracies after less than an epoch say how fast a network begins to learn and not how good it is: no claim is
    held against them.
    """
    published = as_published(results)
    filled = with_references(results)
    groups = results.accuracy_groups()
    found = {}
    for track in ("imagenet", "cifar"):
        view, group = results, next((group for group in groups if group.track == track), None)
        if filled is not None and filled[1].track == track:
            view, group = filled
        source = f"{group.dataset} after {group.budget or 'an unknown budget'}" if group else "published"
        if group is None and track == IMAGENET and published:
            view, group = published
        trained = [model for model in group.models if _saw_an_epoch(view, model, group)] if group else []
        found[track] = Setting(view, track, source, frozenset(model.name for model in trained), layers)
    return found


def _saw_an_epoch(results: Results, model: Model, group: AccuracyGroup) -> bool:
    """Whether a network saw every training image once, to within a batch; published ones saw them many times."""
    kind = Budget.kind_of(group.budget)
    if kind in (None, "ep"):
        return kind is None or Budget.parse(group.budget).amount >= 1
    return results.cell(model, "train_epochs").value > 0.99


def percent(share: float) -> str:
    return quantity(share, "fraction", 2)


def short(value: float) -> str:
    """A ratio or a rate: "0.52", "47.1", "1,987"."""
    return quantity(value, "times")


def coefficient_of_variation(values: Sequence[float]) -> float:
    return statistics.pstdev(values) / statistics.fmean(values)


NOT_MEASURED = "not measured"
HOLDS, FAILS = "holds", "does not hold"
PARTLY, EXCEPT = "holds as far as measured", "holds except"  # followed by what is not


@dataclass(frozen=True)
class Part:
    """One of the things that a claim says."""

    words: str  # "operations": what a verdict calls it
    holds: bool | None  # None: what it takes was not measured
    evidence: str  # the numbers, or what is missing


@dataclass(frozen=True)
class Finding:
    kind: str  # one of the five above
    evidence: str
    failed: str = ""  # the parts that are exceptions
    missing: str = ""  # those that were not measured

    @property
    def verdict(self) -> str:
        """Such as "holds except for operations (not measured: activation memory)"."""
        exceptions = f" for {self.failed}" if self.failed else ""
        return f"{self.kind}{exceptions}{f' (not measured: {self.missing})' if self.missing else ''}"


Test = Callable[[Setting], Sequence[Part]]


@dataclass(frozen=True)
class Claim:
    """A test is given a setting, that is an input size, and says what is true there."""

    id: str
    words: str
    source: str
    home: Literal["imagenet", "cifar"]  # the setting that the claim is about
    test: Test
    elsewhere: bool  # whether the same can be asked at the other input size
    arithmetic: bool  # whether it can be judged without any measurement


def finding(parts: Sequence[Part]) -> Finding:
    """The verdict on a claim from those on its parts: a part that fails or is unknown is an exception."""
    known = [part for part in parts if part.holds is not None]
    evidence = with_written_names("; ".join(dict.fromkeys(part.evidence for part in parts if part.evidence)))
    if not known:
        return Finding(NOT_MEASURED, evidence)
    if not any(part.holds for part in known):
        return Finding(FAILS, evidence)
    failed = with_written_names(", ".join(part.words for part in known if not part.holds))
    missing = with_written_names(", ".join(part.words for part in parts if part.holds is None))
    return Finding(EXCEPT if failed else PARTLY if missing else HOLDS, evidence, failed, missing)


def lacking(at: Setting, words: str, what: str, networks: Iterable[str], *metrics: str) -> Part:
    """What a part lacks: `what` of those of some networks that have not all of some metrics."""
    without = [at.name(network) for network in networks if not at.having((network,), *metrics)]
    return unknown(words, f"{what} of {listing(list(dict.fromkeys(without)))}")


def unknown(words: str, missing: str) -> Part:
    return Part(words, None, f"missing: {missing}")


@cache
def claims() -> tuple[Claim, ...]:
    """The claims in the order of claims.csv, each with its test."""
    from bench.render.claims import canziani, lecture  # which are written in the words of this module

    tests = {**lecture.TESTS, **canziani.TESTS}
    with (Path(__file__).parent / "claims.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            Claim(
                id=row["id"],
                words=row["claim"],
                source=row["source"],
                home="cifar" if row["track"] == "cifar" else "imagenet",
                test=tests[row["id"]],
                elsewhere=row["other_size"] == "yes",
                arithmetic=row["arithmetic"] == "yes",
            )
            for row in csv.DictReader(file)
        )


@dataclass(frozen=True)
class Ruling:
    claim: Claim
    found: Finding  # at the input size that the claim is about
    beside: Finding | None  # at the other size; None where the claim is not about it

    @property
    def large(self) -> Finding | None:
        return self.found if self.claim.home == "imagenet" else self.beside

    @property
    def small(self) -> Finding | None:
        return self.found if self.claim.home == "cifar" else self.beside


def rulings(results: Results, layers: Mapping[str, Layers]) -> list[Ruling]:
    """All of them, in a fixed order; a claim that the run has no numbers for is "not measured"."""
    places = settings(results, layers)
    found = []
    for claim in claims():
        other = places["cifar" if claim.home == "imagenet" else "imagenet"]
        beside = finding(claim.test(other)) if claim.elsewhere else None
        found.append(Ruling(claim, finding(claim.test(places[claim.home])), beside))
    return found


def worth_showing(ruled: Sequence[Ruling]) -> bool:
    """Whether some verdict rests on a number of the run."""
    return any(each.found.kind != NOT_MEASURED and not each.claim.arithmetic for each in ruled)


def summary(ruled: Sequence[Ruling]) -> str:
    """Such as "Of 36 claims, 20 hold, 6 hold with exceptions, ... at the input size that each is about."."""
    count = Counter(each.found.kind for each in ruled)
    return (
        f"Of {len(ruled)} claims, {count[HOLDS]} hold, {count[PARTLY]} hold as far as they were measured, "
        f"{count[EXCEPT]} hold with exceptions, {count[FAILS]} do not hold and {count[NOT_MEASURED]} were not "
        "measured, each at the input size that it is about."
    )


def write_claims_csv(ruled: Sequence[Ruling]) -> str:
    """A row per claim, and another with "@32" or "@224" behind its id for the input size that it was not made for."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("id", "claim", "source", "verdict", "evidence"))
    for each in ruled:
        rows = [(each.claim.id, each.claim.words, each.found)]
        if each.beside:
            side = 32 if each.claim.home == "imagenet" else 224
            rows.append((f"{each.claim.id}@{side}", f"At {side}×{side}: {each.claim.words}", each.beside))
        for identity, words, found in rows:
            writer.writerow(map(inert, (identity, words, each.claim.source, found.verdict, found.evidence)))
    return buffer.getvalue()
