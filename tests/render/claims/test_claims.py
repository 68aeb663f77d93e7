"""Every verdict follows from the records: with other records it is another one."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest

from bench.records.record import Record
from bench.records.run_folder import header_of
from bench.render.claims import (
    NOT_MEASURED,
    Finding,
    Part,
    canziani,
    claims,
    finding,
    lecture,
    rulings,
    summary,
    worth_showing,
    write_claims_csv,
)
from bench.render.results import Results, cells_of
from bench.render.results.derived import published_records
from bench.render.results.kept import Layers
from tests.render.conftest import header, listed, ok

Facts = dict[str, dict[str, float]]  # network -> metric -> value

# Sizes as the textbook has them; accuracies are those of published weights unless a case says otherwise.
LARGE: Facts = {
    "alexnet": {"params": 61_100_840, "macs": 714e6, "saved_activation_bytes": 3.7e6, "activations": 5e5},
    "vgg16": {"params": 138_357_544, "macs": 15.47e9, "saved_activation_bytes": 73e6, "activations": 13_556_712},
    "vgg19": {"params": 143_667_240, "macs": 19.63e9, "saved_activation_bytes": 78e6, "activations": 14.9e6},
    "googlenet": {"params": 6_624_904, "macs": 1.498e9, "saved_activation_bytes": 48e6, "activations": 3.2e6},
    "resnet18": {"params": 11_689_512, "macs": 1.814e9, "saved_activation_bytes": 22e6, "activations": 2.5e6},
    "resnet34": {"params": 21_797_672, "macs": 3.664e9, "saved_activation_bytes": 32e6, "activations": 3.7e6},
    "resnet50": {"params": 25_557_032, "macs": 4.089e9, "saved_activation_bytes": 86e6, "activations": 11e6},
    "resnet152": {"params": 60_192_808, "macs": 11.51e9, "saved_activation_bytes": 177e6, "activations": 22e6},
    "nin": {"params": 7_595_176, "macs": 1.1e9},
    "squeezenet1_0": {"params": 1_248_424, "macs": 819e6},
    "wide_resnet50_2": {"params": 68_883_240, "macs": 11.4e9},
    "densenet201": {"params": 20_013_928, "macs": 4.29e9, "saved_activation_bytes": 203e6},
    "resnet101": {"params": 44_549_160, "macs": 7.8e9, "saved_activation_bytes": 127e6},
}
SMALL: Facts = {
    "alexnet_cifar": {"params": 2_472_266, "macs": 15e6, "saved_activation_bytes": 8e4, "top1": 0.70},
    "vgg16_bn_cifar": {"params": 14_728_266, "macs": 313e6, "saved_activation_bytes": 2.6e6, "top1": 0.90},
    "googlenet_cifar": {"params": 6_166_250, "macs": 1.52e9, "saved_activation_bytes": 43e6, "top1": 0.91},
    "resnet18_cifar": {"params": 11_173_962, "macs": 555e6, "saved_activation_bytes": 4.7e6, "top1": 0.92},
    "squeezenet_cifar": {"params": 727_626, "macs": 88e6, "saved_activation_bytes": 1e6, "top1": 0.65},
    "nin_cifar": {"params": 966_986, "macs": 222e6, "saved_activation_bytes": 3e6, "top1": 0.85},
}


def results_of(facts: Mapping[str, Mapping[str, float]], **changes: Any) -> Results:
    """A run of networks with some metrics each; `changes` are fields of all records."""
    records: list[Record] = []
    models = []
    for name, metrics in facts.items():
        track = next((track for track in ("cifar", "mnist") if name.endswith(f"_{track}")), "imagenet")
        models.append(listed(name, name.partition("_")[0], 2015, track))
        for metric, value in metrics.items():
            accuracy = {"dataset": "cifar10", "budget": "5ep", "trials": 10_000} if metric == "top1" else {}
            records.append(ok(name, metric, value, **{**changes, **accuracy}))
    known = header_of(header(models))
    records += published_records(known.models)
    return Results(known, known.models, tuple(records), cells_of(records))


def verdicts(facts: Mapping[str, Mapping[str, float]], **changes: Any) -> dict[str, Finding]:
    """By id; with "@" behind it, the verdict at the other input size."""
    ruled = rulings(results_of(facts, **changes), {})
    beside = {f"{each.claim.id}@": each.beside for each in ruled if each.beside}
    return {each.claim.id: each.found for each in ruled} | beside


def changed(facts: Facts, **changes: dict[str, float]) -> Facts:
    return {name: {**metrics, **changes.get(name, {})} for name, metrics in facts.items()}


def everywhere(facts: Facts, metric: str, values: Mapping[str, float]) -> Facts:
    """Some networks with a metric more."""
    return {name: {**facts[name], metric: value} for name, value in values.items()}


def test_a_claim_has_its_own_id_and_says_who_makes_it() -> None:
    assert len({claim.id for claim in claims()}) == len(claims())
    assert all(claim.words.endswith(".") and claim.source for claim in claims())
    expected = {f"S{n}" for n in range(1, 16)} | {f"C{n}" for n in range(1, 12)} | {f"R{n}" for n in range(1, 7)}
    assert expected < {claim.id for claim in claims()}


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ([True, True], "holds"),
        ([False, False], "does not hold"),
        ([True, False], "holds except for b"),
        ([True, None], "holds as far as measured (not measured: b)"),
        ([False, None], "does not hold"),
        ([None, None], "not measured"),
    ],
)
def test_a_verdict_follows_from_its_parts(parts: list[bool | None], verdict: str) -> None:
    found = finding([Part(name, holds, f"evidence {name}") for name, holds in zip("ab", parts, strict=True)])
    assert (found.verdict, found.evidence) == (verdict, "evidence a; evidence b")


TEXTBOOK = {
    "S1": "holds except for activation memory",
    "S2": "holds",
    "S3": "holds",
    "S4": "holds",
    "S5": "not measured",
    "S6": "holds except for 24 M activations, 96 MB",
    "S7": "holds except for 5 million, 12 times",
    "S9": "holds",
    "S10": "holds except for the 358 M",
    "S11": "holds",
    "S12": "holds as far as measured (not measured: under 0.5 MB compressed)",
    "S13": "holds as far as measured (not measured: faster)",
    "S14@": "holds",
    "C5": "holds",
    "C10": "holds",
    "C11": "holds",
    "R5": "holds",
    "R6": "holds",
    # At 32x32 the order of things is another one.
    "S1@": "holds except for operations, activation memory",
    "S3@": "holds except for heavy weights",
    "S7@": "does not hold",
    "S12@": "does not hold",
    "C5@": "does not hold",
    "C10@": "does not hold",
    "R6@": "does not hold",
}


@pytest.mark.parametrize(("claim", "verdict"), TEXTBOOK.items())
def test_the_textbooks_networks_give_the_textbooks_verdicts(claim: str, verdict: str) -> None:
    assert verdicts({**LARGE, **SMALL})[claim].verdict == verdict


# For each claim, records with which its verdict is another one than with the textbook's networks.
FLIPS: list[tuple[str, dict[str, dict[str, float]], str]] = [
    ("S1", {"resnet152": {"params": 200e6, "macs": 30e9}}, "does not hold"),
    ("S1", {"vgg19": {"saved_activation_bytes": 300e6}}, "holds"),
    ("S2", {"googlenet": {"params": 50e6}}, "holds except for accuracy per parameter"),
    ("S2", {"googlenet": {"params": 50e6, "macs": 5e9}}, "does not hold"),
    ("S3", {"alexnet": {"params": 20e6}}, "holds except for heavy weights"),
    ("S3", {"alexnet": {"macs": 3e9}}, "holds except for little compute"),
    ("S4", {"resnet18": {"params": 2e6}}, "holds except for moderate efficiency"),
    ("S6", {"vgg16": {"activations": 22.2e6}}, "holds"),
    ("S6", {"vgg16": {"params": 130e6}}, "does not hold"),
    ("S7", {"googlenet": {"params": 5.05e6}}, "holds"),
    ("S11", {"nin": {"params": 20e6}}, "holds except for the ratio to AlexNet"),
    ("S12", {"squeezenet1_0": {"params": 6e6}}, "holds except for 50 times fewer parameters "),
    ("S14@", {"densenet201": {"params": 40e6}}, "holds except for fewer parameters"),
    ("C5", {"googlenet": {"params": 13e6}}, "does not hold"),
    ("C10", {"vgg19": {"macs": 1e9}, "vgg16": {"macs": 1e9}}, "does not hold"),
    ("C11", {"vgg19": {"macs": 39e9}}, "holds except for VGG-19"),
    ("R5", {"resnet50": {"macs": 9e9}}, "holds except for operations"),
    ("R6", {"resnet50": {"params": 99e6}}, "does not hold"),
]


def test_evidence_names_networks_as_their_papers_do() -> None:
    assert verdicts(LARGE)["S1"].evidence.startswith("most parameters: VGG-19 144 M, then AlexNet 61.1 M; ")


@pytest.mark.parametrize(("claim", "changes", "verdict"), FLIPS)
def test_other_sizes_give_another_verdict(claim: str, changes: dict[str, dict[str, float]], verdict: str) -> None:
    found = verdicts(changed(LARGE, **changes))[claim].verdict
    assert found.startswith(verdict) if verdict.endswith(" ") else found == verdict
    assert found != verdicts(LARGE)[claim].verdict


def test_accuracies_at_32_are_those_of_the_run() -> None:
    good = verdicts({**LARGE, **SMALL})
    assert good["S4@"].verdict == "holds"
    assert "cifar10 after 5ep" in good["S4@"].evidence
    assert "published" in good["S4"].evidence
    worse = changed(SMALL, resnet18_cifar={"top1": 0.5})
    assert verdicts({**LARGE, **worse})["S4@"].verdict == "does not hold"


def test_accuracies_at_224_are_those_of_the_run_where_it_has_some() -> None:
    """A run that trains on the imagenet track is not mixed with published numbers."""
    own = everywhere(LARGE, "top1", {"wide_resnet50_2": 0.3, "resnet152": 0.6})
    found = verdicts(own)
    assert found["S13"].verdict == "does not hold"
    assert "published" not in found["S13"].evidence
    assert (
        verdicts(everywhere(LARGE, "top1", {"wide_resnet50_2": 0.7, "resnet152": 0.6}))["S13"].kind != "does not hold"
    )
    inception = {"timm:inception_v4": {"top1": 0.8}, "resnet152": {"top1": 0.78}}
    assert verdicts(inception)["S5"].verdict == "holds"
    assert verdicts({**inception, "resnet152": {"top1": 0.82}})["S5"].verdict == "does not hold"


def test_feature_reuse_and_the_need_of_residuals_are_judged_by_accuracy() -> None:
    def train(dense: float, deep: float, fractal: float, residual: float) -> dict[str, Finding]:
        return verdicts(
            {
                "densenet_bc100_k12_cifar": {"params": 769_162, "top1": dense},
                "preact_resnet1001_cifar": {"params": 10_327_706, "top1": deep},
                "fractalnet20_cifar": {"top1": fractal},
                "resnet110_cifar": {"top1": residual},
            }
        )

    alike, worse = train(0.95, 0.951, 0.93, 0.93), train(0.85, 0.95, 0.83, 0.93)
    assert (alike["S14"].verdict, alike["S14b"].verdict) == ("holds", "holds")
    assert (worse["S14"].verdict, worse["S14b"].verdict) == ("holds except for accuracy", "does not hold")


def test_stochastic_depth_must_train_faster_by_more_than_noise() -> None:
    def train(speed: float, macs: float) -> str:
        return verdicts(
            {
                "stochastic_depth_resnet110_cifar": {"train_images_per_s": speed, "macs": macs, "params": 1e6},
                "resnet110_cifar": {"train_images_per_s": 1000, "macs": 2.5e8, "params": 1e6},
            }
        )["S15"].verdict

    assert train(1300, 2.5e8) == "holds"
    assert train(1100, 2.5e8) == "holds except for faster training"
    assert train(1100, 1e8) == "does not hold"


NAMES = ("alexnet", "googlenet", "resnet18", "resnet50", "resnet152", "vgg16", "vgg19")


def timed(ms: Mapping[str, float], **more: Mapping[str, float]) -> Facts:
    """Networks by their milliseconds per image; `more` by metric."""
    facts = everywhere(LARGE, "inference_images_per_s", {name: 1e3 / each for name, each in ms.items()})
    for metric, values in more.items():
        for name, value in values.items():
            facts[name][metric] = value
    return facts


BY_MACS = {name: LARGE[name]["macs"] / 1e9 for name in NAMES}


def test_operations_tell_time_or_not() -> None:
    assert verdicts(timed(BY_MACS))["C4"].verdict == "holds"
    slow = verdicts(timed({**BY_MACS, "resnet50": 13.0}))["C4"]
    assert slow.verdict == "holds except for the time per MAC of ResNet-50"
    backwards = {name: 20 / each for name, each in BY_MACS.items()}
    assert verdicts(timed(backwards))["C4"].verdict == "does not hold"


def test_vgg_is_slowest_and_alexnet_fastest_or_not() -> None:
    assert verdicts(timed(BY_MACS))["C8"].verdict == "holds"
    assert verdicts(timed({**BY_MACS, "resnet152": 99.0}))["C8"].verdict == "holds except for VGG as the slowest"
    assert verdicts(timed({**BY_MACS, "resnet152": 99.0, "alexnet": 98.0}))["C8"].verdict == "does not hold"


def test_a_batch_of_its_own_is_no_comparison() -> None:
    facts = timed(BY_MACS)
    assert verdicts(facts, batch_size=32, asked_batch_size=64)["C8"].verdict == NOT_MEASURED
    assert verdicts(facts, batch_size=64, asked_batch_size=64)["C8"].verdict == "holds"


def test_power_is_energy_times_throughput() -> None:
    even = timed(BY_MACS, energy_joules_per_image={name: 0.3 * ms for name, ms in BY_MACS.items()})
    assert verdicts(even)["C1"].verdict == "holds as far as measured (not measured: batch size)"
    assert "300 W" in verdicts(even)["C1"].evidence
    uneven = timed(BY_MACS, energy_joules_per_image=dict.fromkeys(BY_MACS, 0.3))
    assert verdicts(uneven)["C1"].verdict == "does not hold"


def test_energy_rises_with_complexity_and_accuracy_or_not() -> None:
    assert verdicts(timed(BY_MACS, energy_joules_per_image=BY_MACS))["C3"].kind == "holds except"
    against = {name: 1 / each for name, each in BY_MACS.items()}
    assert verdicts(timed(BY_MACS, energy_joules_per_image=against))["C3"].verdict == "does not hold"


def front_of(accuracy_of_ms: Any) -> dict[str, Finding]:
    ms = {name: 1.0 + number for number, name in enumerate(NAMES)}
    return verdicts(timed(ms, top1={name: accuracy_of_ms(each) for name, each in ms.items()}))


def test_the_shape_of_the_front_is_told_by_what_a_curve_leaves_over() -> None:
    hyperbola, line = front_of(lambda ms: 0.9 - 0.3 / ms), front_of(lambda ms: 0.5 + 0.05 * ms)
    assert (hyperbola["C2"].verdict, line["C2"].verdict) == ("holds", "does not hold")
    assert hyperbola["C9"].verdict == "holds"  # accuracy is then a line in images per second
    assert line["C9"].verdict == "does not hold"


def test_memory_follows_weights_at_small_batches() -> None:
    def facts(slope: float, noise: float) -> Facts:
        return everywhere(
            LARGE,
            "peak_inference_bytes",
            {name: 2e8 + slope * 4 * LARGE[name]["params"] + noise * (number % 2) for number, name in enumerate(NAMES)},
        )

    assert verdicts(facts(1.3, 0), batch_size=1)["C6"].verdict == "holds"
    assert verdicts(facts(0.5, 0), batch_size=1)["C6"].verdict == "holds except for slope of one or more"
    assert verdicts(facts(1.3, 2e9), batch_size=1)["C6"].kind != "holds"
    assert verdicts(facts(1.3, 0), batch_size=64)["C6"].verdict == NOT_MEASURED


def test_what_a_batch_gains_is_told_from_throughput_and_latency() -> None:
    latency = dict.fromkeys(NAMES, 5.0)
    facts = timed(BY_MACS, latency_ms=latency)
    assert verdicts(facts, batch_size=64)["C7"].verdict == "holds"
    assert verdicts(facts, batch_size=8)["C7"].verdict == NOT_MEASURED
    heavy = timed(BY_MACS, latency_ms={**latency, "vgg16": 500.0})
    assert verdicts(heavy, batch_size=64)["C7"].verdict == "does not hold"


@pytest.mark.parametrize(
    ("claim", "good", "bad"),
    [
        (
            "R1",
            {
                "plain20_cifar": {"gradient_norm_ratio_sigmoid": 1e-6},
                "plain56_cifar": {"gradient_norm_ratio_sigmoid": 0},
            },
            {"plain20_cifar": {"gradient_norm_ratio_sigmoid": 1}, "plain56_cifar": {"gradient_norm_ratio_sigmoid": 2}},
        ),
        (
            "R2",
            {"plain20_cifar": {"gradient_norm_ratio": 0.8}, "plain56_cifar": {"gradient_norm_ratio": 1.4}},
            {"plain20_cifar": {"gradient_norm_ratio": 1e-3}, "plain56_cifar": {"gradient_norm_ratio": 1e-5}},
        ),
        (
            "R3",
            {
                **{f"plain{n}_cifar": {"gradient_norm_ratio_sigmoid": 1e-9} for n in (20, 56)},
                **{f"resnet{n}_cifar": {"gradient_norm_ratio_sigmoid": 0.5} for n in (20, 56)},
            },
            {
                **{f"plain{n}_cifar": {"gradient_norm_ratio_sigmoid": 0.5} for n in (20, 56)},
                **{f"resnet{n}_cifar": {"gradient_norm_ratio_sigmoid": 1e-9} for n in (20, 56)},
            },
        ),
        (
            "R4",
            {"plain20_cifar": {"top1": 0.9}, "plain56_cifar": {"top1": 0.85}}
            | {"resnet20_cifar": {"top1": 0.91}, "resnet56_cifar": {"top1": 0.93}},
            {"plain20_cifar": {"top1": 0.85}, "plain56_cifar": {"top1": 0.9}}
            | {"resnet20_cifar": {"top1": 0.93}, "resnet56_cifar": {"top1": 0.88}},
        ),
        ("L1", {"lenet5_mnist": {"params": 61_706}}, {"lenet5_mnist": {"params": 61_707}}),
        ("L2", {"cnn_mnist": {"params": 121_514}}, {"cnn_mnist": {"params": 117_034}}),
    ],
)
def test_what_tutorials_say_holds_or_not(claim: str, good: Facts, bad: Facts) -> None:
    assert verdicts(good)[claim].verdict == "holds"
    assert verdicts(bad)[claim].verdict == "does not hold"
    assert verdicts({})[claim].verdict == NOT_MEASURED


def layers(*rows: tuple[str, int, int, int]) -> Layers:
    columns = ["operation", "params", "macs", "activations"]
    frame = pd.DataFrame(list(rows), columns=columns)
    return Layers("vgg16", frame.assign(layer="", saved_activation_bytes=1))


def test_where_vggs_memory_and_parameters_are_follows_from_its_layers() -> None:
    facts = results_of({"vgg16": LARGE["vgg16"]})
    usual = layers(("Conv2d", 1, 9, 80), ("Conv2d", 9, 9, 10), ("Linear", 90, 9, 1))
    reverse = layers(("Conv2d", 90, 9, 1), ("Conv2d", 9, 9, 10), ("Linear", 1, 9, 80))
    found = {
        name: next(each.found.verdict for each in rulings(facts, {"vgg16": known}) if each.claim.id == "S8")
        for name, known in (("usual", usual), ("reverse", reverse))
    }
    assert found == {"usual": "holds", "reverse": "does not hold"}


def test_a_run_without_numbers_tests_nothing_but_arithmetic() -> None:
    ruled = rulings(results_of({}), {})
    assert {each.claim.id for each in ruled if each.found.verdict != NOT_MEASURED} == {"S9", "S10"}
    assert not worth_showing(ruled)
    assert worth_showing(rulings(results_of(LARGE), {}))
    assert summary(ruled).startswith(f"Of {len(claims())} claims, 1 ")


def test_one_network_is_no_range() -> None:
    said = verdicts({**SMALL, "vgg11_bn_cifar": SMALL["vgg16_bn_cifar"]})["S4@"].evidence
    assert "accuracy points per million parameters: 8.23, between VGG's 6.11 and GoogLeNet's 14.8" in said


def test_what_is_missing_is_named_without_what_is_there() -> None:
    facts = changed(LARGE, wide_resnet50_2={"inference_images_per_s": 9.0})
    assert verdicts(facts)["S13"].evidence.endswith("missing: throughput of ResNet-152")
    dense = {"densenet_bc100_k12_cifar": {"params": 769e3}}
    assert verdicts(dense)["S14"].evidence == "missing: parameters of PreAct-ResNet-1001"


def test_claims_csv_has_the_promised_columns_and_no_formula() -> None:
    facts = {**LARGE, "=cmd()|inception_v4": {"params": 1.0}}
    rows = list(csv.DictReader(io.StringIO(write_claims_csv(rulings(results_of(facts), {})))))
    assert list(rows[0]) == ["id", "claim", "source", "verdict", "evidence"]
    assert [row["id"] for row in rows[:2]] == ["S1", "S1@32"]
    assert next(row for row in rows if row["id"] == "S14@224")["claim"].startswith("At 224×224: ")
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    kinds = {"holds", "does not hold", "not measured"}
    assert all(
        row["verdict"] in kinds or row["verdict"].startswith(("holds except for ", "holds as far as")) for row in rows
    )


def test_every_claim_has_a_test_and_every_test_a_claim() -> None:
    tests = {**lecture.TESTS, **canziani.TESTS}
    assert sorted(claim.id for claim in claims()) == sorted(tests)
    assert all(claim.words.endswith(".") and claim.source for claim in claims())


def test_what_is_only_partly_measured_is_no_exception() -> None:
    ruled = rulings(results_of(LARGE), {})
    assert "hold as far as they were measured" in summary(ruled)
    assert [each.claim.id for each in ruled if each.found.kind == "holds as far as measured"] == ["S12", "S13"]
