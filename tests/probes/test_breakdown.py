"""What one network spends its time on, where it is planted."""

import json
from functools import partial
from pathlib import Path

import pytest
from torch import Tensor, nn

from bench.cli.main import main
from bench.config import Task
from bench.device.timing import Laps
from bench.probes import speed
from tests.clock import Time
from tests.configs import config
from tests.own_network import own_spec

NOW = Time()  # that only a planted layer spends


class Slow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        NOW.spend(0.02)
        return x


class Planted(nn.Module):
    """A layer that is called twice, and a network that takes its own time between its layers."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.slow = Slow()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.slow(self.slow(x))
        NOW.spend(0.01)
        output: Tensor = self.head(x)
        return output


def test_time_is_told_by_call_and_what_is_between_the_layers_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "Laps", partial(Laps, clock=NOW))
    found = speed.layer_milliseconds(Task(own_spec(Planted), config(measure_seconds=0.2)))
    slow = {("", 0): 10.0, ("slow", 0): 20.0, ("slow", 1): 20.0}
    assert found == pytest.approx({**slow, ("head", 0): 0.0, ("head.0", 0): 0.0, ("head.1", 0): 0.0}, abs=1e-6)


def test_show_has_the_time_of_each_layer_beside_its_macs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "LAYERS_S", 0.05)
    assert main(["show", "lenet5_mnist", "--time", "--device", "cpu", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    layers, totals = shown["layers"], shown["totals"]
    assert totals["macs"] == 416_520
    assert totals["time_ms"] == pytest.approx(sum(layer["time_ms"] for layer in layers))
    assert all(layer["time_ms"] > 0 for layer in layers if layer["operation"] not in ("", "in training"))
    assert shown["timed"].startswith("a forward pass in eval mode, batch 1, fp32, channels_last")
    assert main(["show", "lenet5_mnist", "--time", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[-3:] == ["share", "of", "time"] for line in lines)
    assert lines[-1].endswith("100.0 %")


def test_a_trace_holds_the_passes_of_a_training_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lenet.json"
    assert main(["show", "lenet5_mnist", "--trace", str(file), "--batch-size", "2", "--device", "cpu"]) == 0
    assert f"trace: {file}" in capsys.readouterr().err
    names = {event.get("name", "") for event in json.loads(file.read_text(encoding="utf-8"))["traceEvents"]}
    assert {"aten::conv2d", "aten::addmm"} <= names
    assert any("Backward" in name for name in names)
    assert any("Optimizer.step" in name for name in names)


@pytest.mark.gpu
def test_show_times_layers_and_writes_a_trace_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(speed, "LAYERS_S", 0.05)
    file = tmp_path / "trace.json"
    assert main(["show", "lenet5_mnist", "--time", "--trace", str(file), "--device", "cuda:0", "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert all(layer["time_ms"] > 0 for layer in layers if layer["macs"])
    assert any(event.get("cat") == "kernel" for event in json.loads(file.read_text())["traceEvents"])
