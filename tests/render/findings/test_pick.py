"""Who meets limits: judged by hand on a run of five networks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.config import RequestError
from bench.records.run_folder import Run
from bench.render.findings.pick import not_timed, parse_limits, select
from bench.render.results import read_results
from tests.render.conftest import Reader, RunBuilder, listed, ok

# name: latency in the rounds (ms), parameters, accuracy
NETWORKS = {
    "fast": ((1.0, 1.01, 0.99), 5e6, 0.70),
    "noisy": ((2.0, 30.0, 0.5), 5e6, 0.90),
    "slow": ((9.0, 9.1, 8.9), 5e6, 0.95),
    "large": ((1.0, 1.01, 0.99), 50e6, 0.93),
    "guessing": ((1.0, 1.01, 0.99), 1e6, 0.10),
}


@pytest.fixture
def run(build: RunBuilder) -> Run:
    names = [f"{name}_cifar" for name in NETWORKS]
    records = [
        record
        for name, (rounds, params, top1) in zip(names, NETWORKS.values(), strict=True)
        for record in (
            ok(name, "params", params),
            ok(name, "top1", top1, trials=1000, dataset="cifar10", budget="1ep"),
            *(ok(name, "latency_ms", value, round=number, samples=(value,)) for number, value in enumerate(rounds)),
        )
    ]
    return build(
        records,
        [listed(name, "Family", 2015, "cifar") for name in names] + [listed("alexnet", "AlexNet", 2012, "imagenet")],
    )


def test_the_most_accurate_within_the_limits_comes_first_and_doubt_is_said(run: Run) -> None:
    limits = parse_limits(["latency_ms=5", "params=20e6"], "max")
    selection = select(read_results(run), limits)
    assert [choice.model.name for choice in selection.choices] == ["noisy_cifar", "fast_cifar"]
    assert [limit.metric.name for limit in selection.choices[0].uncertain] == ["latency_ms"]
    assert not selection.choices[1].uncertain
    assert "noisy (noisy_cifar), whose interval reaches beyond latency ≤ 5.00 ms, " in selection.sentence


def test_who_only_guesses_is_never_picked(run: Run) -> None:
    names = [choice.model.name for choice in select(read_results(run), ()).choices]
    assert names == ["slow_cifar", "large_cifar", "noisy_cifar", "fast_cifar"]


def test_latencies_of_small_images_are_not_taken_for_those_of_backbones(run: Run, read: Reader) -> None:
    assert not_timed(read_results(run)).startswith("No network was timed at 224×224 in this run: `python -m bench all")
    large = [ok("alexnet", "latency_ms", 9.0), ok("fast_cifar", "latency_ms", 1.0)]
    networks = [listed("alexnet", "AlexNet", 2012, "imagenet"), listed("fast_cifar", "Family", 2015, "cifar")]
    assert not not_timed(read(large, networks))
    assert not not_timed(read(large[1:], networks[1:]))


def test_least_values_are_limits_too(run: Run) -> None:
    selection = select(read_results(run), parse_limits(["top1=0.94"], "min"))
    assert [choice.model.name for choice in selection.choices] == ["slow_cifar"]


def test_a_lower_bound_meets_no_limit(run: Run) -> None:
    with run.writer() as writer:
        writer.append([ok("slow_cifar", "params", 5e6, flags=("lower_bound",))])
    chosen = select(read_results(run), parse_limits(["params=20e6"], "max"))
    assert [choice.model.name for choice in chosen.choices] == ["noisy_cifar", "fast_cifar"]
    assert [model.name for model in chosen.unmeasured] == ["slow_cifar"]


def test_nobody_within_the_limits_is_an_answer(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pick", run.name, "--max", "params=10", "--results-dir", str(run.folder.parent)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "By top1: test accuracy of this run.",
        "None of the 4 cifar networks qualifies with parameters ≤ 10. Lowest parameters here: 5.00 M, fast "
        "(fast_cifar).",
    ]
    both = select(read_results(run), parse_limits(["params=10", "latency_ms=5"], "max"))
    assert both.nearest == "Lowest parameters here: 5.00 M, fast (fast_cifar)."  # latency is kept by some
    assert main(["pick", run.name, "--results-dir", str(run.folder.parent)]) == 0
    assert "Latency" in capsys.readouterr().out.splitlines()[0]


def test_a_single_network_is_not_spoken_of_in_the_plural(read: Reader) -> None:
    rows = [ok("a_cifar", "params", 5e6), ok("a_cifar", "top1", 0.5, trials=1000, dataset="cifar10", budget="1ep")]
    results = read(rows)
    said = [select(results, parse_limits([f"params={bound}"], "max")).sentence for bound in ("1k", "1G")]
    assert said == [
        "The only cifar network that could be judged does not qualify with parameters ≤ 1.00 k.",
        "The only cifar network that could be judged qualifies with parameters ≤ 1.00 G: a (a_cifar), test accuracy "
        "50.0 %.",
    ]


def test_a_tie_has_no_single_winner(read: Reader) -> None:
    rows = [ok(f"{name}_cifar", "top1", 0.5, trials=1000, dataset="cifar10", budget="1ep") for name in "ab"]
    results = read(rows)
    sentence = select(results, ()).sentence
    assert sentence == (
        "Most accurate of 2 cifar networks without any limit: a (a_cifar) and b (b_cifar), test accuracy 50.0 %."
    )


def test_a_run_without_any_accuracy_says_that(read: Reader) -> None:
    results = read([ok("a_cifar", "params", 5e6)])
    with pytest.raises(RequestError, match="no network of this run has an accuracy"):
        select(results, ())


def test_it_says_which_accuracy_counts_and_never_advises_training_on_imagenet(
    build: RunBuilder, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    names = ("alexnet", "resnet18")
    run = build([ok(name, "params", 5e6) for name in names])
    where = ["--results-dir", str(run.folder.parent)]
    assert main(["pick", run.name, *where]) == 0
    assert "By published_top1: accuracy after full training, from the literature and not" in capsys.readouterr().out
    for words in (["--by", "top1"], ["--min", "top1=50%"]):
        said = refused("pick", run.name, "--track", "imagenet", *words, *where)
        assert "has no top1: nothing is trained on ImageNet here; its networks have published_top1" in said
    said = refused("pick", run.name, "--track", "imagenet", "--max", "latency_ms=5", *where)
    assert "`python -m bench all --preset backbones` measures it" in said


def test_a_short_training_is_said_with_its_budget(read: Reader) -> None:
    rows = [ok(f"{name}_cifar", "top1", 0.5, trials=1000, dataset="cifar10", budget="1ep") for name in "ab"]
    results = read(rows)
    assert select(results, ()).basis == "By top1: test accuracy of this run, after 1ep."


def test_the_verb_prints_json(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pick", run.name, "--max", "latency_ms=5", "--max", "params=20e6", "--json"]
    assert main([*words, "--results-dir", str(run.folder.parent)]) == 0
    networks = json.loads(capsys.readouterr().out)["networks"]
    assert [(row["model"], row["uncertain"]) for row in networks] == [
        ("noisy_cifar", ["latency_ms"]),
        ("fast_cifar", []),
    ]


def test_the_terminal_says_which_timing_had_not_settled(build: RunBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        row
        for name, flags in (("a", ("unsteady",)), ("b", ()))
        for row in (
            ok(f"{name}_cifar", "top1", 0.5, trials=1000, dataset="cifar10", budget="1ep"),
            ok(f"{name}_cifar", "latency_ms", 2.0, flags=flags),
        )
    ]
    run = build(rows)
    assert main(["pick", run.name, "--max", "latency_ms=5ms", "--results-dir", str(run.folder.parent)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert ["2.00‡" in line for line in said if "_cifar " in line and " 50.0" in line] == [True, False]
    assert "‡ timing had not settled" in said


def test_a_limit_may_carry_its_unit() -> None:
    words = ["params=20M", "params=20,000,000", "latency_ms=5ms", "peak_training_bytes=2MiB", "published_top1=60 %"]
    words.append("energy_joules_per_image=50µJ")
    assert [limit.bound for limit in parse_limits(words, "max")] == pytest.approx([20e6, 20e6, 5, 2**21, 0.6, 50e-6])


def test_the_only_network_that_qualifies_is_said_to_be_that(run: Run) -> None:
    sentence = select(read_results(run), parse_limits(["top1=94%"], "min")).sentence
    assert sentence.startswith("The only one of 4 cifar networks with test accuracy ≥ 94.0 %: slow (slow_cifar), ")


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("latncy_ms=5", "no metric is named 'latncy_ms'; nearest: latency_ms"),
        ("latency_ms<5", "write METRIC=NUMBER, such as latency_ms=5"),
        ("latency_ms=5.5.5", "write a number, alone or with one of ms s"),
        ("latency_ms=5MB", "write a number, alone or with one of ms s"),
        ("params=1e999", "write a number, alone or with one of k K M G T"),
        ("params=-5", "write a number"),
        ("params=nan", "write a number"),
        ("published_top1=60", "above 100 %; write published_top1=60% or a number up to 1"),
    ],
)
def test_a_word_that_is_no_limit_is_refused_in_one_line(
    word: str, complaint: str, run: Run, refused: Callable[..., str]
) -> None:
    assert complaint in refused("pick", run.name, "--max", word, "--results-dir", str(run.folder.parent))


def test_what_was_not_measured_is_named_with_the_command_that_measures_it(run: Run) -> None:
    with pytest.raises(RequestError, match="--run fixture --probes energy"):
        select(read_results(run), parse_limits(["energy_joules_per_image=1"], "max"))


def test_without_any_run_it_says_how_to_make_one(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "--preset backbones" in refused("pick", "--results-dir", str(tmp_path))
