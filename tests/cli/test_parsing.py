"""What people type that no flag takes: one line in plain words that says what to write, with exit status 2."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.main import main


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("all --epochs 10", "--epochs 10: write --budget 10ep"),
        ("run --epochs", "write --budget 10ep"),
        ("all --gpu 0", "--gpu 0: write --device cuda:0"),
        ("all --cpu", "write --device cpu"),
        ("all --batch-size 16,32", "--batch-size 16,32: write one whole number"),
        ("all --batch-size=16,32", "--batch-size 16,32: write one whole number"),
        ("run --probes params,macs", "--probes params,macs: write the values apart: params macs"),
        ("run --models lenet5_cifar, vgg16", "--models lenet5_cifar,: write the values apart: lenet5_cifar"),
        ("run precision=bf16", "'precision=bf16' is one word too many: write --precision=bf16"),
        ("run --precision FP32", "--precision FP32: nearest: fp32"),
        ("run --seeds 3.5", "--seeds 3.5: write one whole number"),
        ("all --task-memory-gib 1GiB", "--task-memory-gib 1GiB: write a number of GiB, without the unit"),
        ("ab a b --time-limit soon", "--time-limit soon: write a number"),
        ("all --preset standart", "nearest: standard; there are auto, quick, standard, full"),
        ("list --track foo", "--track foo: write imagenet, cifar, mnist"),
        ("all --modles x", "there is no --modles; nearest: --models"),
        ("list --models resnet18", "`python -m bench list` has no --models; it has --family, --track, --year, --json"),
        ("compare mine", "name a second run: python -m bench compare BASE NEW"),
        ("compare", "name two runs: python -m bench compare BASE NEW"),
        ("compare a b c", "'c' is one word too many: python -m bench compare BASE NEW"),
        ("show", "name a network: python -m bench show MODEL"),
        ("show resnet18 --diagram", "--diagram: a value is missing"),
        ("run --models", "--models: a value is missing"),
        ("run --probes --models lenet5_cifar", "--probes: a value is missing"),
        ("pick --max", "--max: a value is missing"),
        ("all --preset quick --preset=full", "--preset is given twice"),
        ("run --models a --probes params --models b", "--models is given twice: write all values after one --models"),
        ("all quick", "'quick' is one word too many: write --preset quick"),
        ("run lenet5_cifar", "'lenet5_cifar' is one word too many: write --models lenet5_cifar"),
        ("all --time-limit 5 min", "'min' is one word too many: --time-limit takes one value"),
        ("all --cuda-graphs yes", "--cuda-graphs yes: write True, False"),
        ("run --run -x", "--run -x: values do not begin with a hyphen, flags begin with two"),
        ("all -v", "bench: -v: values do not begin with a hyphen, flags begin with two"),
        ("all --retry-failed", "--retry-failed: only goes with --run, the run to resume"),
        ("all --force", "--force: only goes with --run, the run to resume"),
        ("all --dry-run=yes", "--dry-run=yes: --dry-run takes no value"),
        ("all --preset backbones --budget 1ep", "--budget changes nothing: none of these probes trains"),
        ("all --dry-run --on=", "--on: name a GPU, such as H100"),
        ("all --on=", "--on: only goes with --dry-run"),
        ("compare a b --json --markdown -", "name a file for the Markdown"),
        (
            "ab lenet5_cifar alexnet_cifar --markdown /nowhere/x.md",
            "cannot write /nowhere/x.md: there is no folder",
        ),
        ("all --probes macs", "`all` takes every probe of its preset; write python -m bench run --probes ..."),
        ("report --run mine", "--run mine: write mine without --run"),
        ("all --resume mine", "--resume mine: write --run mine"),
        ("report mine --out x", "--out x: write --reports-dir x"),
        ("all --lr 0.1", "`python -m bench all` has no --lr; it has --models, "),
        ("compare a b --markdown .", "--markdown '.': name a file, such as change.md, or - to print it"),
        ("report results/x", "results/x is not the folder of a run"),
        ("compere a b", "there is no command 'compere', nearest: compare"),
        ("", "write a command after python -m bench: all, run,"),
        ("history --metric latency", "nearest: latency_ms"),
        ("run --models resnet2O_cifar", "resnet20_cifar"),
        ("run --models resnet20_cifar --dataset cifar01", "cifar10"),
        ("run --models resnet20_cifar --probes accuracy --dataset ./", "no readable folder train/"),
        ("run --budget '10 epochs'", "such as 10ep"),
        ("run --device gpu", "auto, cpu, cuda or cuda:N"),
        ("run --probes speed", "throughput"),
        ("run --run ../elsewhere --models lenet5_cifar --probes params", "run name"),
        ("run --threads 0", "--threads 0: must be above zero"),
        ("run --threads 100000", "--threads 100000: this machine has"),
        ("run --seeds 5000", "--seeds 5000: at most 1,000"),
        ("run --rounds 1001", "--rounds 1001: at most 1,000"),
        ("run --task-timeout-s inf", "--task-timeout-s inf: must be a number below 1e9"),
        ("run --task-memory-gib 1e300", "--task-memory-gib 1e+300: must be a number below 1e9"),
        ("run --checkpoint-every-s inf", "--checkpoint-every-s inf: must be a finite number"),
        ("run --threads 1 --engine ray", "only goes with --engine local"),
        ("dance", "dance"),
        ("show resnet", "no network is named 'resnet'"),
        ("show resnet*_cifar", "more than one"),
        ("list --family Perceptron", "AlexNet"),
        ("report nowhere", "nowhere"),
        ("run --device cpu --recipe resnet-cifar", "resnet18-cifar"),
        ("run --device cpu --recipe resnet18-cifar --models lenet5_cifar", "leave out --models"),
        ("run --device cpu --recipe resnet18-cifar --train-batch-size 32", "leave out --train-batch-size"),
        ("run --device cpu --recipe mnist-cnn --recipes recipes.json", "leave out --recipes"),
        ("run --device cpu --recipe mnist-cnn --dataset cifar10", "needs mnist"),
        ("run --device cpu --recipe resnet18-cifar --weights random", "finetune-224"),
        ("run --device cpu --weights random --models lenet5_cifar", "finetune-224"),
        ("run --device cpu --recipe finetune-224 --weights nowhere.pth", "no such file"),
        ("run --device cpu --recipes nowhere.json --models lenet5_cifar", "no such file"),
        ("show lenet5_mnist --trace x.svg", "--trace x.svg: writes JSON: choose a name that ends in .json"),
        (
            "show lenet5_mnist --trace /nowhere/x.json --batch-size 2",
            "--trace: cannot write /nowhere/x.json: there is no folder",
        ),
        ("history --svg /nowhere/x.svg", "--svg: cannot write /nowhere/x.svg: there is no folder"),
        ("show lenet5_mnist --device cpu", "--device: only goes with --time or --trace"),
        ("show lenet5_mnist --time --batch-size 0", "--batch-size 0: must be above zero"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one_and_leaves_nothing(
    typed: str, words: str, refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refused(*shlex.split(typed))
    assert not list(tmp_path.glob("results/*"))


@pytest.mark.parametrize("place", ["nowhere", "nowhere:Npu", "os:Npu", "os:path"])
def test_an_accelerator_that_is_none_is_said_in_one_line(
    place: str, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_ACCELERATOR", place)
    said = refused("doctor")
    assert said.startswith(f"bench: BENCH_ACCELERATOR={place}: ")
    assert said.endswith("; write package.module:Class")


@pytest.mark.parametrize(
    "typed",
    [
        "show resnet18 --input-size 64",
        "show resnet18 --num-classes 10",
        "ab lenet5_cifar alexnet_cifar --input-size 64",
        "run --models lenet5_cifar --input-size 64",
        "all --models resnet*_cifar --num-classes 5",
        "tune --num-classes 5",
    ],
)
def test_a_flag_that_changes_nothing_is_refused(typed: str, refused: Callable[..., str]) -> None:
    flag = typed.split()[-2]
    said = refused(*typed.split())
    assert f"{flag} {typed.split()[-1]} changes nothing" in said
    assert said.endswith(f"leave {flag} out")


@pytest.mark.parametrize(
    "flag", ["--budget 1ep", "--seeds 3", "--tensorboard", "--rounds 2", "--fit 1GiB", "--checkpoint-every-s 5"]
)
def test_a_flag_that_no_probe_obeys_is_refused(flag: str, refused: Callable[..., str]) -> None:
    said = refused("run", "--models", "lenet5_cifar", "--probes", "params", "macs", *flag.split())
    assert f"{flag.split()[0]} changes nothing: none of these probes " in said
    ray = refused("run", "--models", "lenet5_cifar", "--ray-address", "node:6379")
    assert "--ray-address: only goes with --engine ray" in ray


@pytest.mark.parametrize("typed", ["show lenet5_mnist --diagram x.jpg", "history --svg x.png", "tune --out x.txt"])
def test_a_file_whose_name_says_another_format_is_refused(
    typed: str, refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"choose a name that ends in {'.json' if '--out' in typed else '.svg'}" in refused(*typed.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("in_this_process")
def test_metrics_can_be_named_in_place_of_their_probes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = ["run", "--models", "lenet5_mnist", "--run", "a", "--results-dir", str(tmp_path)]
    assert main([*network, "--probes", "flops", "macs"]) == 0
    assert "lenet5_mnist" in capsys.readouterr().out
    assert '"metric": "flops"' in (tmp_path / "a" / "records.jsonl").read_text().replace('":"', '": "')


def test_help_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for verb in ("all", "run", "list", "show", "report", "compare", "history", "ab", "doctor"):
        assert f"\n  {verb} " in said
    with pytest.raises(SystemExit, match="0"):
        main(["help", "compare"])
    assert capsys.readouterr().out.startswith("usage: python -m bench compare")


@pytest.mark.parametrize("verb", ["all", "run", "list", "show", "pick", "report", "compare", "history", "ab", "doctor"])
def test_help_shows_what_to_write_and_nothing_of_the_parser(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    said = capsys.readouterr().out
    assert "None" not in said
    assert "Traceback" not in said
    assert not any(word in said for word in ("STR", "WORD", "(default: False)", "(default: )"))
    words = {"show": " MODEL", "pick": " [RUN]", "report": " [RUN ...]", "compare": " BASE NEW", "ab": " [A] [B]"}
    assert said.splitlines()[0] == f"usage: python -m bench {verb} [-h] [OPTIONS]{words.get(verb, '')}"


def test_the_text_of_a_flag_is_one_paragraph(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However its lines are broken in the source."""
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit, match="0"):
        main(["run", "--help"])
    said = capsys.readouterr().out
    assert "package.module:factory or ./file.py:factory. Default: those of the preset." in said


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"classic-bench \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)
