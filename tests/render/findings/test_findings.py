"""The first sentences of a report, derived from its numbers; and what is missing or remarked, each reason once."""

from __future__ import annotations

from bench.records.record import Record
from bench.render.findings import problems, remarks, summary_of
from bench.render.results import Results
from tests.render.conftest import Reader, bad, counts, listed, ok, speeds, training


def numbers(name: str, top1: float, params: float, macs: float) -> list[Record]:
    return [*counts(name, params, macs, 1e6), *training(name, top1, trials=10_000)]


def findings(results: Results) -> list[str]:
    return [sentence for sentences in summary_of(results) for sentence in sentences]


def test_three_networks(read: Reader) -> None:
    rows = [
        *numbers("a_cifar", 0.50, 1_000, 1_000_000),
        *numbers("b_cifar", 0.70, 9_000, 4_000_000),
        *numbers("c_cifar", 0.695, 5_000, 5_000_000),
        *numbers("d_cifar", 0.60, 9_500, 6_000_000),
    ]
    best, small, beaten = findings(read(rows))
    assert best == (
        "After 20 s of training on cifar10, b is the most accurate of 4 networks: "
        "70.00 ± 0.91 %; the 95 % interval of c overlaps with its own."
    )
    assert small == ("The smallest within one percentage point of the best: c with 5.00 k parameters, 69.50 ± 0.91 %.")
    # c has more MACs than b and fewer parameters: it is not beaten; d is, by b and by c, of which b is better
    assert beaten == "Dominated (another is more accurate with no more MACs and parameters): d (by b)."


def test_a_tie_has_no_single_winner(read: Reader) -> None:
    rows = [*numbers("a_cifar", 0.7, 10, 10), *numbers("b_cifar", 0.7, 10, 20), *numbers("c_cifar", 0.2, 1, 30)]
    best, small = findings(read(rows))
    assert "a and b share the highest accuracy of 3 networks" in best
    assert "a and b with 10 parameters." in small
    # a has fewer MACs than b, but is not more accurate: nobody is beaten


def test_a_network_is_beaten_only_beyond_the_intervals(read: Reader) -> None:
    rows = [*numbers("a_cifar", 0.70, 10, 10), *numbers("b_cifar", 0.69, 10, 20), *numbers("c_cifar", 0.6, 10, 30)]
    *_, beaten = findings(read(rows))
    assert beaten.endswith("parameters): c (by a).")


def test_a_cheap_network_at_chance_beats_nobody_and_is_named(read: Reader) -> None:
    rows = [*numbers("a_cifar", 0.1, 1, 1), *numbers("b_cifar", 0.5, 100, 1e6), *numbers("c_cifar", 0.6, 200, 2e6)]
    best, chance = findings(read(rows))
    assert "c is the most accurate of 2 networks" in best
    assert chance == "No better than chance (10.0 %) so far: a."


def test_accuracies_most_of_which_are_guesses_are_never_the_headline(read: Reader) -> None:
    rows = [*numbers("a_cifar", 0.1, 1, 1), *numbers("b_cifar", 0.101, 1, 1), *numbers("c_cifar", 0.099, 1, 1)]
    (sentence,) = findings(read(rows))
    assert sentence.startswith("No network does better than chance (10.0 %) after 20 s of training")


def test_one_network_is_compared_with_nothing(read: Reader) -> None:
    (sentence,) = findings(read(numbers("a_cifar", 0.5, 1, 1)))
    assert sentence.endswith("no other network was trained.")


def test_accuracy_without_costs_gives_one_sentence(read: Reader) -> None:
    rows = [*training("a_cifar", 0.5), *training("b_cifar", 0.6)]
    assert len(findings(read(rows))) == 1


IMAGENET = ("alexnet", "vgg16", "resnet18", "resnet50", "squeezenet1_1", "vit_b_16")


def test_published_accuracies_come_first_and_without_any_training(read: Reader) -> None:
    macs = {
        "alexnet": 7e8,
        "vgg16": 1.5e10,
        "resnet18": 1.8e9,
        "resnet50": 4e9,
        "squeezenet1_1": 3e8,
        "vit_b_16": 1.7e10,
    }
    params = {"alexnet": 6e7, "vgg16": 1.4e8, "resnet18": 1e7, "resnet50": 2.5e7, "squeezenet1_1": 1e6, "vit_b_16": 8e7}
    rows = [row for name in IMAGENET for row in counts(name, params[name], macs[name], 1e6)]
    best, beaten = summary_of(read(rows))[0]
    assert best == "After full training (published), ViT-B/16 is the most accurate of 6 networks: 81.1 %."
    assert beaten.endswith("VGG-16 (by ResNet-50) and AlexNet (by SqueezeNet 1.1).")


def test_what_depends_on_the_machine_is_said_apart(read: Reader) -> None:
    slow = {name: 4.0 * 2**place for place, name in enumerate(IMAGENET)}  # 4 to 128 ms; the middle is 32
    rows = [ok(name, "latency_ms", value) for name, value in slow.items()]
    headline, here = summary_of(read([*rows, *(counts(n, 1, 1, 1)[0] for n in IMAGENET)]))
    assert here[0] == (
        "Under 20 ms for one image, the most accurate of the 6 imagenet networks with a published accuracy is VGG-16: "
        "71.6 %, latency 8.00 ms."
    )
    samples = tuple(15.0 + place for place in range(12))
    rows = [row for row in rows if row.model != "resnet50"] + [ok("resnet50", "latency_ms", 19.0, samples=samples)]
    unsure = summary_of(read([*rows, *(counts(n, 1, 1, 1)[0] for n in IMAGENET)], name="unsure"))[1][0]
    assert "is VGG-16: 71.6 %, latency 8.00 ms. More accurate, but not surely as fast: ResNet-50: 76.1 %" in unsure
    faster = [ok(name, "latency_ms", value / 2) for name, value in slow.items()]
    again, _ = summary_of(read([*faster, *(counts(n, 1, 1, 1)[0] for n in IMAGENET)], name="fast"))
    assert again == headline


def test_costs_alone(read: Reader) -> None:
    rows = [*counts("a_cifar", 5, 100, 1), *counts("b_cifar", 5, 50, 1), *speeds("a_cifar", 100)]
    assert findings(read(rows)) == [
        "a and b have the fewest parameters of 2 cifar networks: 5.",
        "b has the fewest MACs of 2 cifar networks: 50.",
    ]


def test_synthetic_images_are_named_as_such(read: Reader) -> None:
    rows = [*training("a_cifar", 0.5, dataset="synthetic"), *training("b_cifar", 0.9, dataset="synthetic")]
    assert "on synthetic (generated images)" in findings(read(rows))[0]


def test_an_empty_run_finds_nothing(read: Reader) -> None:
    assert findings(read([])) == []
    assert findings(read([], [listed("a_cifar")])) == []


def test_a_crowd_is_counted_and_not_named(read: Reader) -> None:
    rows = [row for place in range(7) for row in numbers(f"n{place}_cifar", 0.5 + place / 1e4, 1e6, 1e6)]
    assert "intervals of n0, n1, n2 and 3 more overlap with" in findings(read(rows))[0]


CIFAR = (
    "lenet5_cifar",
    "resnet20_cifar",
    "resnet56_cifar",
    "densenet40_k12_cifar",
    "wide_resnet28_10_cifar",
    "nin_cifar",
)


def test_a_short_training_is_only_compared_with_published_accuracies_on_the_same_images(read: Reader) -> None:
    said = {}
    for dataset in ("cifar10", "cifar10-jpeg", "synthetic", "folder-mine"):
        rows = [
            row
            for place, name in enumerate(CIFAR)
            for row in training(name, 0.4 + place / 20, trials=10_000, dataset=dataset, budget="1ep")
        ]
        sentences = findings(read(rows))
        said[dataset] = any("another seed; over 5 networks" in sentence for sentence in sentences)
    assert said == {"cifar10": True, "cifar10-jpeg": True, "synthetic": False, "folder-mine": False}


def test_the_few_that_train_fast_are_no_comparison(read: Reader) -> None:
    """Three of seven were trained and the others left out: the best of the three says nothing of the seven."""
    trained = [row for place in range(3) for row in numbers(f"n{place}_cifar", 0.5 + place / 10, 1e6, 1e6)]
    why = {"dataset": "cifar10", "budget": "20s", "flags": ("left_out",)}
    left_out = [bad(f"n{place}_cifar", "top1", "skipped", "it would take too long", **why) for place in range(3, 7)]
    (sentence,) = findings(read([*trained, *left_out]))
    assert sentence.startswith("Only 3 of 7 networks of the cifar track were trained (20 s of training on cifar10): ")


def test_how_far_a_short_training_can_be_trusted_worked_out_by_hand(read: Reader) -> None:
    """Published: ResNet-20 91.25, ResNet-56 93.03, DenseNet-40 94.76, WRN-28-10 96.00 and NiN 91.19 %, ranks 2 3 4 5 1.

    Here: ranks 2 5 3 4 1, so the differences are 0 2 1 1 0, and 1 - 6 * 6 / (5 * 24) = 0.70.
    """
    here = dict(zip(CIFAR[1:], (0.50, 0.70, 0.55, 0.60, 0.40), strict=True))
    names = ("resnet20_cifar", "resnet56_cifar", "densenet40_k12_cifar", "wide_resnet28_10_cifar", "nin_cifar")
    assert tuple(here) == names
    rows = [row for name, top1 in here.items() for row in training(name, top1, trials=10_000, budget="1ep")]
    results = read(rows)
    assert [results.cell(name, "published_top1").value for name in names] == [0.9125, 0.9303, 0.9476, 0.96, 0.9119]
    said = [sentence for sentence in findings(results) if sentence.startswith("How far to trust that")]
    assert said == [
        "How far to trust that: each network was trained once, and ± does not cover another seed; over 5 networks, the "
        "ranks after 1 epoch and after full training (published) have a correlation of 0.70; 1 would be the same "
        "order, 0 none."
    ]


def test_rounds_that_differ_in_numbers_are_one_remark(read: Reader) -> None:
    notes = [f"launch-bound: the device works {share}% of the step" for share in (33, 9, 31)]
    rows = [ok("a_cifar", "train_device_ms", 1.0, round=n, note=note) for n, note in enumerate(notes)]
    rows.append(ok("a_cifar", "train_images_per_s", 1.0, note="batch 1,024 did not fit into memory"))
    found = remarks(read(rows))
    assert [remark.reason for remark in found["throughput"]] == [
        "launch-bound: the device works 9 to 33% of the step",
        "batch 1,024 did not fit into memory",
    ]


def test_what_is_computed_from_a_timing_does_not_repeat_its_remarks(read: Reader) -> None:
    timed = ok("a_cifar", "train_images_per_s", 9.0, batch_size=8, device="cuda:0", note="not steady: 9% slower")
    limits = {"cuda:0": {"precision": "fp32", "peak_flops_per_s": 1e12, "bandwidth_bytes_per_s": 1e10}}
    found = remarks(read([ok("a_cifar", "flops", 1e9), timed], limits=limits))
    assert {probe: [remark.reason for remark in said] for probe, said in found.items()} == {
        "throughput": ["not steady: 9% slower"],
        "derived": ["share of 1.000 TFLOP/s, the fastest fp32 matrix product or convolution measured here"],
    }


def test_networks_with_the_same_remark_share_it(read: Reader) -> None:
    rows = [ok(name, "latency_ms", 1.0, note="warm 2.15.0") for name in ("a_cifar", "b_cifar")]
    rows.append(ok("b_cifar", "params", 1.0, note="odd"))
    found = remarks(read(rows))
    assert {probe: [(r.reason, r.models) for r in said] for probe, said in found.items()} == {
        "latency": [("warm 2.15.0", ("a_cifar", "b_cifar"))],
        "params": [("odd", ("b_cifar",))],
    }


def test_skipped_rows_that_differ_in_a_number_share_a_line_and_failed_ones_do_not(read: Reader) -> None:
    notes = {"a_cifar": "it would take about 26 min here", "b_cifar": "it would take about 3 min here"}
    skipped = [bad(name, "top1", "skipped", note) for name, note in notes.items()]
    failed = [bad(name, "params", "failed", f"error {code}") for code, name in enumerate(notes)]
    found = problems(read([*skipped, *failed]))
    assert [(remark.reason, remark.models) for remark in found] == [
        ("error 0", ("a_cifar",)),
        ("error 1", ("b_cifar",)),
        ("it would take about 3 to 26 min here", ("a_cifar", "b_cifar")),
    ]


def test_a_failed_round_is_a_problem_though_others_succeeded(read: Reader) -> None:
    rows = [ok("a_cifar", "latency_ms", 1.0), bad("a_cifar", "latency_ms", "oom", "too big", round=1)]
    (found,) = problems(read(rows))
    assert (found.status, found.reason, found.models, found.probes) == ("oom", "too big", ("a_cifar",), ("latency",))
