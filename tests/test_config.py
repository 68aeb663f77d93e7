"""Budgets, presets and the request that becomes a configuration."""

from dataclasses import replace

import pytest

from bench.config import PRESETS, Budget, Execution, RequestError
from bench.metrics import DERIVED, METRICS, PROBES, metrics_of
from bench.runner.request import Request, resolve


@pytest.mark.parametrize(
    ("word", "amount", "kind", "in_words"),
    [
        ("1ep", 1, "ep", "1 epoch"),
        ("10ep", 10, "ep", "10 epochs"),
        ("200kimg", 200, "kimg", "200 thousand images"),
        ("60s", 60, "s", "60 s of training"),
        ("2pflop", 2, "pflop", "2 PFLOP of training"),
        ("0.5ep", 0.5, "ep", "0.5 epochs"),
    ],
)
def test_budget_words(word: str, amount: float, kind: str, in_words: str) -> None:
    budget = Budget.parse(word)
    assert (budget.amount, budget.kind) == (amount, kind)
    assert (str(budget), budget.in_words) == (word, in_words)


@pytest.mark.parametrize(
    ("word", "meant"), [("10epochs", "10ep"), ("1epoch", "1ep"), ("5min", "300s"), ("0.5h", "1800s")]
)
def test_a_budget_in_other_words_is_the_same_budget(word: str, meant: str) -> None:
    assert str(Budget.parse(word)) == meant


@pytest.mark.parametrize("word", ["", "10", "ep", "10 ep", "-1s", "0ep", "10epoch s", "1e3s", "nan s", "10EP", "inf"])
def test_malformed_budgets_say_what_to_write(word: str) -> None:
    with pytest.raises(RequestError, match="10ep"):
        Budget.parse(word)


def test_the_preset_follows_the_device() -> None:
    assert resolve(Request(), (), "cpu")[0].preset == "quick"
    assert resolve(Request(), (), "cuda")[0].preset == "standard"


def test_what_a_preset_only_counts_is_named_like_the_rest_and_gives_way_to_named_networks() -> None:
    config, models = resolve(Request(), (), "cpu")
    assert config.counted == PRESETS["quick"].counted
    assert set(config.counted) < set(models)
    assert resolve(Request(models=("vgg16",)), (), "cpu")[0].counted == ()


def test_flags_win_over_the_preset() -> None:
    config, models = resolve(
        Request(models=("resnet*",), budget=("3ep",), seeds=2, batch_size=7, train_batch_size=9, test_images=50),
        ("params",),
        "cpu",
    )
    assert models == ("resnet*",)
    assert (str(config.budget), config.seeds, config.train_batch_size, config.test_images) == (
        "3ep",
        2,
        9,
        50,
    )
    assert set(config.batch_size.values()) == {7}
    assert config.probes == ("params",)


def test_several_budgets_are_the_first_and_the_others_each_once() -> None:
    config, _ = resolve(Request(budget=("10ep", "60s", "10.0ep", "2pflop")), (), "cpu")
    assert (config.budget, config.other_budgets) == (Budget(10, "ep"), (Budget(60, "s"), Budget(2, "pflop")))
    assert resolve(Request(), (), "cpu")[0].other_budgets == ()


def test_arithmetic_follows_the_device_unless_it_is_named() -> None:
    assert resolve(Request(), (), "cpu")[0].execution == Execution("fp32", "channels_last", False, False)
    assert resolve(Request(), (), "cuda")[0].execution == Execution("bf16", "channels_last", False, None)
    named = Request(precision="fp16", memory_format="contiguous", compile=True, cuda_graphs=True)
    assert resolve(named, (), "cuda")[0].execution == Execution("fp16", "contiguous", True, True)


def test_a_mode_of_the_compiler_compiles_and_graphs_are_replayed_by_one_of_both() -> None:
    request = Request(compile_mode="max-autotune")
    on_cpu = Execution("fp32", "channels_last", True, False, "max-autotune")
    assert resolve(request, (), "cpu")[0].execution == on_cpu
    assert resolve(request, (), "cuda")[0].execution == replace(on_cpu, precision="bf16")
    without = replace(request, compile_mode="max-autotune-no-cudagraphs", cuda_graphs=True)
    assert resolve(without, (), "cuda")[0].execution.cuda_graphs
    with pytest.raises(RequestError, match="replays CUDA graphs itself: leave out --cuda-graphs"):
        resolve(replace(request, cuda_graphs=True), (), "cuda")


@pytest.mark.parametrize(
    ("request_", "probes", "words"),
    [
        (Request(seeds=0), (), "--seeds 0"),
        (Request(batch_size=-4), (), "--batch-size -4"),
        (Request(task_timeout_s=0.0), (), "--task-timeout-s"),
        (Request(budget=("3ep", "soon")), (), "budget 'soon'"),
        (Request(precision="tf32"), (), "only GPUs"),
        (Request(cuda_graphs=True), (), "--device cuda"),
        (Request(rounds=0), (), "--rounds 0"),
        (Request(), ("speed",), "no probe is named 'speed'"),
    ],
)
def test_bad_requests_are_named(request_: Request, probes: tuple[str, ...], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        resolve(request_, probes, "cpu")


def test_every_preset_is_complete() -> None:
    for preset in PRESETS.values():
        assert set(preset.probes) <= set(PROBES)
        assert set(preset.batch_size) == {"imagenet", "cifar", "mnist"}


def test_every_metric_belongs_to_one_probe_or_is_derived() -> None:
    assert DERIVED not in PROBES
    owners = (*PROBES, DERIVED)
    assert sorted(name for owner in owners for name in metrics_of(owner)) == sorted(METRICS)


@pytest.mark.parametrize(
    ("models", "size", "probes", "beside"),
    [
        (("mine:tiny",), None, (), True),
        (("mine:tiny", "torchvision:resnet18"), "32", (), True),
        (("mine:tiny",), "224", (), False),  # no classic of that size is trained
        (("torchvision:resnet18",), None, (), False),
        (("mine:tiny", "resnet20_cifar"), None, (), False),  # whoever names some has chosen
        (("mine:tiny",), None, ("params",), False),  # `run`
    ],
)
def test_ones_own_network_stands_among_the_classics(
    models: tuple[str, ...], size: str | None, probes: tuple[str, ...], beside: bool
) -> None:
    config, names = resolve(Request(models=models, input_size=size), probes, "cpu")
    assert ("resnet20_cifar" in config.counted) == beside
    assert names[: len(models)] == models
    assert set(config.counted) == set(names[len(models) :])
