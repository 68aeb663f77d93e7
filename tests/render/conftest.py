"""Runs as the runner would have written them. Every number in this file is a fixture, not a measurement."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from bench.metrics import metrics_of
from bench.records.record import Record
from bench.records.run_folder import Run, header_of, unused_name
from bench.render.charts import frame
from bench.render.charts.frame import style
from bench.render.results import Results, derived, read_results
from bench.render.results.networks import unlisted
from tests.configs import new_run
from tests.rows import bad, ok

# name, family, year, params, MACs, saved bytes, accuracy: plausible magnitudes, crowded on purpose.
FIXTURE_CIFAR: tuple[tuple[str, str, int, float, float, float, float], ...] = (
    ("lenet5_cifar", "LeNet", 1998, 62_006, 651_720, 57_232, 0.453),
    ("alexnet_cifar", "AlexNet", 2012, 23_272_266, 133_000_000, 1_204_000, 0.551),
    ("zfnet_cifar", "ZFNet", 2013, 26_000_000, 180_000_000, 1_900_000, 0.548),
    ("nin_cifar", "NiN", 2013, 966_986, 222_500_000, 3_800_000, 0.562),
    ("vgg11_bn_cifar", "VGG", 2014, 9_231_114, 152_769_536, 1_601_536, 0.634),
    ("vgg16_bn_cifar", "VGG", 2014, 14_728_266, 313_201_664, 2_600_960, 0.641),
    ("googlenet_cifar", "GoogLeNet", 2014, 6_166_250, 1_521_756_160, 43_622_400, 0.648),
    ("plain20_cifar", "PlainNet", 2015, 269_034, 40_550_000, 1_530_000, 0.585),
    ("resnet20_cifar", "ResNet", 2015, 269_722, 40_551_000, 1_540_000, 0.612),
    ("resnet32_cifar", "ResNet", 2015, 464_154, 68_900_000, 2_400_000, 0.607),
    ("resnet56_cifar", "ResNet", 2015, 853_018, 125_500_000, 4_200_000, 0.571),
    ("resnet18_cifar", "ResNet", 2015, 11_173_962, 555_422_720, 4_700_160, 0.684),
    ("preact_resnet18_cifar", "PreActResNet", 2016, 11_171_146, 555_422_720, 4_438_016, 0.689),
    ("wide_resnet28_10_cifar", "Wide ResNet", 2016, 36_479_194, 5_247_000_000, 24_000_000, 0.574),
    ("resnext29_32x4d_cifar", "ResNeXt", 2016, 4_774_218, 772_483_072, 26_755_072, 0.601),
    ("stochastic_depth110_cifar", "Stochastic Depth", 2016, 1_727_962, 254_000_000, 7_600_000, 0.413),
    ("fractalnet20_cifar", "FractalNet", 2016, 38_600_000, 1_400_000_000, 6_900_000, 0.533),
    ("densenet_bc100_k12_cifar", "DenseNet", 2016, 769_162, 292_000_000, 23_000_000, 0.594),
    ("squeezenet_cifar", "SqueezeNet", 2016, 736_000, 61_000_000, 1_350_000, 0.523),
    ("vit_tiny_cifar", "ViT", 2020, 5_500_000, 360_000_000, 9_800_000, 0.105),
)
FIXTURE_MNIST: tuple[tuple[str, str, int, float, float, float, float], ...] = (
    ("lenet5_mnist", "LeNet", 1998, 61_706, 416_520, 57_000, 0.986),
    ("cnn_mnist", "MNIST CNN", 1998, 125_000, 11_000_000, 220_000, 0.991),
)
FIXTURE_IMAGENET: tuple[tuple[str, str, int, float, float, float], ...] = (
    ("alexnet", "AlexNet", 2012, 61_100_840, 714_188_480, 3_800_000),
    ("vgg16_bn", "VGG", 2014, 138_365_992, 15_470_264_320, 127_000_000),
    ("resnet50", "ResNet", 2015, 25_557_032, 4_089_184_256, 106_000_000),
    ("squeezenet1_1", "SqueezeNet", 2016, 1_235_496, 349_152_000, 21_000_000),
    ("vit_b_16", "ViT", 2020, 86_567_656, 17_563_828_224, 190_000_000),
)
TEST_IMAGES = {"cifar": 2000, "mnist": 2000}

RunBuilder = Callable[..., Run]
Reader = Callable[..., Results]


@contextmanager
def kept_figures() -> Iterator[list[Figure]]:
    """The figures that are drawn as matplotlib's objects, in place of files: the SVG of a chart is its number here."""
    kept: list[Figure] = []

    def keep(figure: Figure) -> str:
        kept.append(figure)
        return str(len(kept) - 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame, "save_svg", keep)
        patch.setattr(frame, "save_png", lambda _: b"")
        yield kept


def texts_of(figure: Figure) -> list[Text]:
    """Every text that is visible and says something."""
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        low, high = sorted(axes.get_xlim())
        bottom, top = sorted(axes.get_ylim())
        ticks = [
            tick.label1
            for axis, (start, end) in ((axes.xaxis, (low, high)), (axes.yaxis, (bottom, top)))
            for tick in axis.get_major_ticks()
            if start <= tick.get_loc() <= end
        ]
        found += [*axes.texts, *ticks, axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title]  # type: ignore[attr-defined]
    return [text for text in found if text.get_text().strip()]


def overlaps(figure: Figure, texts: Iterable[Text]) -> list[tuple[str, str]]:
    """Texts of a figure that cover each other, by more than what no eye sees."""
    with style():
        figure.draw_without_rendering()
        boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts]
    return [
        (a, b)
        for (a, box), (b, other) in itertools.combinations(boxes, 2)
        if (shared := Bbox.intersection(box, other)) is not None and min(shared.width, shared.height) > 0.7
    ]


def header(models: Iterable[dict[str, Any]], **changes: object) -> dict[str, Any]:
    """A run.json as the runner writes it."""
    return {
        "version": 1,
        "name": "fixture",
        "created": "2026-01-31T12:00:00+00:00",
        "command": ["python", "-m", "bench", "all"],
        "preset": "quick",
        "budget": "20s",
        "seeds": 1,
        "precision": "fp32",
        "environment": {
            "device": "Fixture CPU, 2 threads",
            "device_kind": "cpu",
            "torch": "2.15.0",
            "python": "3.11.7",
            "threads": 2,
            "commit": "0123456789abcdef",
        },
        "image_sets": {
            "cifar": {
                "name": "cifar10",
                "source": "Fixture images of CIFAR-10.",
                "mean": [0.5],
                "test_count": 2000,
            },
            "mnist": {
                "name": "mnist",
                "source": "Fixture images of MNIST.",
                "mean": [0.5],
                "test_count": 2000,
            },
        },
        "models": list(models),
        **changes,
    }


def listed(name: str, family: str = "", year: int = 2015, track: str = "", **changes: object) -> dict[str, Any]:
    """A network's entry in run.json; unless they are given, its family and track are those that its name says."""
    track = track or unlisted(name).track
    sizes = {"cifar": [3, 32, 32], "mnist": [1, 28, 28], "imagenet": [3, 224, 224]}
    return {
        "name": name,
        "family": family or name.removesuffix(f"_{track}"),
        "year": year,
        "paper": f"Fixture et al. {year}, arXiv:1512.03385, section 4.2",
        "track": track,
        "input_size": sizes[track],
        "num_classes": 1000 if track == "imagenet" else 10,
        "differences": ["Differs from the paper: this is a fixture."] if track == "cifar" else [],
        **changes,
    }


def counts(model: str, params: float, macs: float, saved: float) -> list[Record]:
    return [
        ok(model, "params", params, device="meta"),
        ok(model, "macs", macs, device="meta"),
        ok(model, "flops", 2 * macs, device="meta"),
        ok(model, "activations", saved / 6, device="meta"),
        ok(model, "saved_activation_bytes", saved, device="meta"),
    ]


def speeds(model: str, macs: float) -> list[Record]:
    """Throughputs that fall with the MACs, each from twelve samples that spread by about two per cent."""
    rows = []
    for metric, factor in (("inference_images_per_s", 3.0), ("train_images_per_s", 1.0)):
        middle = factor * 2.5e10 / (macs + 4e6) ** 0.92
        samples = tuple(middle * (1 + 0.02 * math.sin(5 * i + macs)) for i in range(12))
        rows.append(ok(model, metric, sorted(samples)[6], samples=samples, batch_size=64, device="cpu"))
    return rows


def training(
    model: str,
    top1: float,
    *,
    seed: int = 0,
    dataset: str = "cifar10",
    budget: str = "20s",
    trials: int = 2000,
) -> list[Record]:
    """What one seed's training reports."""
    facts: dict[str, Any] = {
        "seed": seed,
        "dataset": dataset,
        "budget": budget,
        "batch_size": 128,
        "device": "cpu",
    }
    return [
        ok(model, "top1", top1, trials=trials, **facts),
        ok(model, "train_seconds", 20.0 + 0.01 * len(model), **facts),
        ok(model, "train_images", 1000.0 * len(model), **facts),
        ok(model, "train_epochs", 0.02 * len(model), **facts),
        ok(model, "train_loss", 2.3 * (1 - top1), **facts),
    ]


@pytest.fixture(autouse=True)
def no_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the package ships: what a test's run shows is in the test."""
    monkeypatch.setattr(derived, "REFERENCE_FILE", Path("none.csv"))


def kept_run(
    results: Path,
    records: Iterable[Record],
    models: Iterable[dict[str, Any]] | None = None,
    name: str = "fixture",
    **changes: object,
) -> Run:
    """A run of these records, in a folder of its own; keyword arguments change the header.

    Its networks are those of the records, unless others are given.
    """
    rows = list(records)
    entries = [listed(model) for model in dict.fromkeys(row.model for row in rows)] if models is None else models
    run = new_run(results, unused_name(results, name), header_of(header(entries, **changes)))
    with run.writer() as writer:
        writer.append(rows)
    return run


@pytest.fixture
def build(tmp_path: Path) -> RunBuilder:
    """Write such a run."""
    return partial(kept_run, tmp_path / "results")


@pytest.fixture
def read(build: RunBuilder) -> Reader:
    """The results of such a run."""
    return lambda *records, **changes: read_results(build(*records, **changes))


def full_run(results: Path, *, synthetic: bool = False, seeds: int = 1, curves: bool = True) -> Run:
    """20 networks of the cifar track, 2 of mnist, 5 of imagenet, with a failure and skipped rows."""
    cifar, mnist = ("synthetic", "synthetic-mnist") if synthetic else ("cifar10", "mnist")
    models: list[dict[str, Any]] = []
    records: list[Record] = []
    for track, dataset, rows in (("cifar", cifar, FIXTURE_CIFAR), ("mnist", mnist, FIXTURE_MNIST)):
        for name, family, year, params, macs, saved, top1 in rows:
            models.append(listed(name, family, year, track))
            records += counts(name, params, macs, saved) + speeds(name, macs)
            if name == "fractalnet20_cifar":
                note = "out of memory at batch 128"
                records += [
                    bad(name, metric, "oom", note, dataset=dataset, budget="20s") for metric in metrics_of("accuracy")
                ]
                continue
            for seed in range(seeds):
                records += training(name, round(top1 + 0.004 * seed, 4), seed=seed, dataset=dataset)
    for name, family, year, params, macs, saved in FIXTURE_IMAGENET:
        models.append(listed(name, family, year, "imagenet"))
        records += counts(name, params, macs, saved) + speeds(name, macs)
        records.append(bad(name, "top1", "skipped", "networks of the imagenet track are not trained"))
    sets = {
        "cifar": {"name": cifar, "source": "Fixture images, 10 classes."},
        "mnist": {"name": mnist, "source": "Fixture digits, 10 classes."},
    }
    run = kept_run(results, records, models, "full", image_sets=sets, seeds=seeds)
    if curves:
        run.curves.mkdir()
        for record in records:
            if record.metric == "top1" and record.value is not None:
                path = run.curves / f"{record.model}-seed{record.seed}.parquet"
                curve(record.value, 1000 * len(record.model)).to_parquet(path)
    return run


def curve(top1: float, images: int, steps: int = 200) -> pd.DataFrame:
    """A training curve that ends at `top1`, evaluated at every fiftieth step."""
    done = [(i + 1) / steps for i in range(steps)]
    return pd.DataFrame(
        {
            "images": [images * x for x in done],
            "seconds": [20 * x for x in done],
            "flops": [1e9 * images * x for x in done],
            "epoch": done,
            "train_loss": [2.3 * (1 - top1 * x**0.4) + 0.05 * math.sin(40 * x) for x in done],
            "test_top1": [0.1 + (top1 - 0.1) * x**0.5 if i % 50 == 49 else math.nan for i, x in enumerate(done)],
        }
    )


# What a fast GPU might do at bf16; the vendor's figure is an invented one.
FIXTURE_LIMITS = {
    "cuda:0": {
        "precision": "bf16",
        "peak_flops_per_s": 6.5e14,
        "bandwidth_bytes_per_s": 4.1e12,
        "vendor_flops_per_s": 9.9e14,
        "vendor_source": "fixture data sheet",
    }
}
GPU_EXECUTION: dict[str, Any] = {"device": "cuda:0", "precision": "bf16", "memory_format": "channels_last"}
FIXTURE_SESSIONS = [
    {
        "started": "2026-01-31T12:00:05+00:00",
        "before": {"load_average_1min": 0.31, "cuda:0": {"temperature_celsius": 31, "throttle_reasons": "none"}},
        "ended": "2026-01-31T12:08:05+00:00",
        "after": {"load_average_1min": 2.5, "cuda:0": {"temperature_celsius": 64, "throttle_reasons": "power cap"}},
    }
]


def gpu_speeds(name: str, macs: float, batch: int) -> list[Record]:
    """Three rounds of throughput and latency, and the best batch; a network below 100 MMACs keeps the GPU waiting."""
    how = GPU_EXECUTION
    used = batch // 2 if name == "wide_resnet28_10_cifar" else batch
    rows = []
    for kind, factor in (("inference", 1.0), ("train", 3.0)):
        device_ms = factor * (used * macs * 1.1e-11 + 0.08)
        step_ms = max(device_ms * 1.02, factor * 1.4)
        for number in range(3):
            drift = 1 + 0.01 * (number - 1)
            rates = tuple(1e3 * used / step_ms * drift * (1 + 0.004 * math.sin(3 * i + macs)) for i in range(9))
            note = f"batch {batch} did not fit into memory" if used != batch else ""
            if name == "vgg16_bn_cifar" and number == 2:
                note = "not steady: steps got 9% slower while they were sampled"
            facts = {**how, "round": number, "batch_size": used, "asked_batch_size": batch}
            rows.append(ok(name, f"{kind}_images_per_s", sorted(rates)[4], samples=rates, note=note, **facts))
            share = device_ms / step_ms
            bound = f"launch-bound: the device works {share * (1 + drift) / 2:.0%} of the step" if share < 0.8 else ""
            ms = tuple(device_ms * drift * (1 + 0.002 * i) for i in range(5))
            rows.append(ok(name, f"{kind}_device_ms", ms[2], samples=ms, note=bound, **facts))
        larger = 8 * used if macs < 1e8 else 2 * used
        best = 1e3 * larger / max(larger / used * device_ms * 0.97, step_ms)
        tried = f"tried {batch}: {1e3 * used / step_ms:,.0f}/s, {larger}: {best:,.0f}/s"
        samples = tuple(best * (1 + 0.003 * i) for i in range(-4, 5))
        rows.append(ok(name, f"best_{kind}_images_per_s", best, samples=samples, batch_size=larger, note=tried, **how))
    for number in range(3):
        base = (0.35 + 8e-3 * math.log10(macs) ** 2) * (1 + 0.01 * number)
        facts = {**how, "round": number, "batch_size": 1, "asked_batch_size": 1}
        if name == "nin_cifar" and number == 1:
            rows += [bad(name, metric, "timeout", "took over 60 s", round=1) for metric in metrics_of("latency")]
            continue
        samples = tuple(base * (1 + 0.01 * abs(math.sin(7 * i))) for i in range(100))
        rows.append(ok(name, "latency_ms", sorted(samples)[50], samples=samples, **facts))
        rows.append(ok(name, "latency_p95_ms", 1.08 * base, **facts))
        rows.append(ok(name, "latency_p99_ms", 1.4 * base, **facts))
    return rows


def gpu_memory(name: str, params: float, saved: float, batch: int) -> list[Record]:
    """Measured and predicted peaks that differ by a few per cent, and the parts of the predicted one."""
    how = {**GPU_EXECUTION, "batch_size": batch, "asked_batch_size": batch}
    parts = {
        "weight_bytes": 4 * params,
        "gradient_bytes": 4 * params,
        "optimizer_bytes": 4 * params,
        "activation_bytes": batch * saved / 2,
        "workspace_bytes": batch * saved / 9 + 2**20,
    }
    total = sum(parts.values())
    off = 1.08 if name == "squeezenet_cifar" else 1 + 0.02 * math.sin(params)
    rows = [ok(name, metric, float(round(value)), predicted=True, **how) for metric, value in parts.items()]
    rows.append(ok(name, "predicted_training_bytes", float(round(total)), predicted=True, **how))
    rows.append(ok(name, "peak_training_bytes", float(round(total * off)), **how))
    rows.append(ok(name, "reserved_training_bytes", float(round(total * 1.2)), **how))
    rows.append(ok(name, "predicted_inference_bytes", float(round(total / 5)), predicted=True, **how))
    rows.append(ok(name, "peak_inference_bytes", float(round(total / 5 * (2 - off))), **how))
    return rows


# A run of the whole registry is as large.
EIGHTY_CIFAR = tuple(
    (name.replace("_cifar", f"_{copy}_cifar"), family, year, params, macs * 1.4**copy, saved, top1 - 0.01 * copy)
    for copy in range(4)
    for name, family, year, params, macs, saved, top1 in FIXTURE_CIFAR
)


def gpu_run(
    results: Path,
    name: str = "gpu",
    cifar: Iterable[tuple[str, str, int, float, float, float, float]] = FIXTURE_CIFAR,
    imagenet: Iterable[tuple[str, str, int, float, float, float]] = FIXTURE_IMAGENET,
    seeds: int = 1,
) -> Run:
    """What a GPU run of 20 and 5 networks leaves: rounds, best batches, memory, energy, limits and conditions."""
    models: list[dict[str, Any]] = []
    records: list[Record] = []
    networks = [(*row[:6], row[6], "cifar", 512) for row in cifar]
    networks += [(*row, math.nan, "imagenet", 64) for row in imagenet]
    for model, family, year, params, macs, saved, top1, track, batch in networks:
        models.append(listed(model, family, year, track))
        records += counts(model, params, macs, saved) + gpu_speeds(model, macs, batch)
        records += gpu_memory(model, params, saved, batch)
        how = {**GPU_EXECUTION, "batch_size": batch}
        traffic = saved * 1.3 + 4 * params / batch
        records.append(ok(model, "traffic_bytes", traffic, **{**how, "device": "meta"}))
        records.append(ok(model, "arithmetic_intensity", 2 * macs / traffic, **{**how, "device": "meta"}))
        joules = 350 * (macs * 1.1e-14 + 2e-6 * batch / 512)
        records.append(ok(model, "energy_joules_per_image", joules, **how))
        records.append(ok(model, "train_energy_joules_per_image", 3.2 * joules, **how))
        if not math.isnan(top1):
            records += [row for seed in range(seeds) for row in training(model, top1, seed=seed)]
    changes: dict[str, Any] = {
        "precision": "bf16",
        "memory_format": "channels_last",
        "cuda_graphs": None,
        "limits": FIXTURE_LIMITS,
        "conditions": FIXTURE_SESSIONS,
        "environment": {"device": "Fixture GPU", "device_kind": "cuda", "torch": "2.15.0", "driver": "570.1"},
    }
    return kept_run(results, records, models, name, **changes)
