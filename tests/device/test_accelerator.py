"""The seam between the suite and its devices: what each kind says of itself, and that nothing else asks for a kind."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch

from bench.config import RequestError
from bench.device import accelerator, torch_devices
from bench.device.accelerator import Device, MemoryUse
from bench.device.execution import CannotCapture, captured, failed_capture, is_out_of_memory
from bench.device.torch_devices import SPUN_CYCLES, Cuda, Mps, TorchAccelerator, Xpu
from bench.regression.ab.revision import Revision
from bench.runner.prepare import devices_for
from bench.runner.request import Request, resolve
from tests.emulated import Emulated, at_work
from tests.emulated.queue import Queue

BENCH = Path(accelerator.__file__).parents[1]
SEAM = {"device/accelerator.py", "device/torch_devices.py", "device/nvml.py"}
# Runs under revisions of the suite that have no seam.
SEAM_OF_OLDER_REVISIONS = {"regression/ab/worker.py"}
BY_KIND = re.compile(
    r"""\.type\s*[!=]=\s*["'](cuda|cpu|mps|xpu)"""
    r"""|startswith\(\s*["'](cuda|cpu|mps|xpu)"""
    r"""|\btorch\.(cuda|mps|xpu)\b"""
    r"""|["'](cuda|cpu)["']\s*:\s*[^,}\]]+,\s*["'](cuda|cpu)["']\s*:"""
    r"""|\bis_cuda\b"""
)


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "_chosen", [])


def test_nothing_outside_the_seam_asks_for_a_kind_of_device() -> None:
    found = {
        f"{path.relative_to(BENCH)}: {match[0]}"
        for path in BENCH.rglob("*.py")
        if str(path.relative_to(BENCH)) not in SEAM | SEAM_OF_OLDER_REVISIONS
        for match in BY_KIND.finditer(path.read_text(encoding="utf-8"))
    }
    assert not found


def test_the_host_has_no_queue_no_allocator_and_nothing_to_wait_for() -> None:
    host = accelerator.named("cpu")
    assert (host.is_host, host.captures, host.memory, host.event(), host.sleep(1.0)) == (True, False, None, None, False)
    assert accelerator.named("meta") is host
    assert accelerator.of(torch.zeros(1).device) is host
    assert accelerator.chosen() is host


@pytest.mark.parametrize(("kind", "word"), [(Cuda, "cuda:1"), (Xpu, "xpu:1"), (Mps, "mps:1")])
def test_a_device_is_known_by_its_word_whether_or_not_there_is_one(kind: type[TorchAccelerator], word: str) -> None:
    device = accelerator.named(word)
    assert isinstance(device, kind)
    assert (device.word, device.place, device.is_host) == (word, torch.device(word), False)
    assert accelerator.of(torch.device(word)) is device


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_a_kind_that_is_not_here_is_said_before_any_work(kind: str) -> None:
    with pytest.raises(RequestError, match=f"--device {kind}: PyTorch sees no {kind.upper()} device"):
        devices_for(kind, print)


def test_a_kind_that_nobody_knows_is_refused_with_those_that_are_known() -> None:
    for word in ("gpu", "cuda:x", "cuda:", "cpu:0", "meta"):
        with pytest.raises(RequestError, match="auto, cpu, cuda or cuda:N, mps, xpu"):
            devices_for(word, print)


def test_what_a_kind_lacks_is_left_out_of_its_defaults() -> None:
    config, _ = resolve(Request(), (), "mps")
    assert (config.preset, config.execution.cuda_graphs, config.execution.precision) == ("quick", False, "bf16")
    with pytest.raises(RequestError, match="--cuda-graphs"):
        resolve(Request(cuda_graphs=True), (), "xpu")


def test_networks_are_contiguous_where_gradients_are_wrong_otherwise() -> None:
    """On MPS those of batch norm, up to PyTorch 2.13 (pytorch#175189, #188371)."""
    formats = {kind: resolve(Request(), (), kind)[0].execution.memory_format for kind in ("cpu", "cuda", "xpu", "mps")}
    assert formats == {"cpu": "channels_last", "cuda": "channels_last", "xpu": "channels_last", "mps": "contiguous"}
    with pytest.raises(RequestError, match=r"--memory-format channels_last: .* use contiguous"):
        resolve(Request(memory_format="channels_last"), (), "mps")


class Hpu(TorchAccelerator):
    """A vendor's own, which PyTorch knows as an accelerator."""

    kind = "hpu"

    @classmethod
    def count(cls) -> int:
        return 2


def test_a_vendor_brings_a_device_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(accelerator.VARIABLE, f"{__name__}:Hpu")
    assert devices_for("hpu", print) == ("hpu:0", "hpu:1")
    assert devices_for("auto", print) == ("hpu:0", "hpu:1")
    assert "hpu" in accelerator.words()


def test_a_device_that_cannot_be_brought_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(accelerator.VARIABLE, "tests.no_such_module:Hpu")
    with pytest.raises(RequestError, match=r"no_such_module.*write package\.module:Class"):
        devices_for("auto", print)


def test_ab_works_on_the_device_that_it_was_given_and_not_on_the_first() -> None:
    with at_work("count=2"):
        revision = Revision(["--device", "emulated:1", "--precision", "fp32", "--batch-size", "2"])
        assert accelerator.chosen().word == revision.device == "emulated:1"
        assert (revision.hardware, revision.sample_s) == ("Emulated GPU", Emulated.sizes.paired_sample_s)
        second = accelerator.named("emulated:1")
        assert isinstance(second, Emulated)
        step, _ = revision.step("lenet5_mnist", "inference")
        step()
        assert second.queue.launches > 0
        second.leave()


def test_what_goes_on_without_a_graph_waits_for_the_steps_that_were_to_be_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    main, side, asked = MagicMock(), MagicMock(), list[str]()
    main.wait_stream.side_effect = lambda stream: asked.append("wait" if stream is side else "wait for another")
    monkeypatch.setattr(torch.cuda, "Stream", lambda place: side)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: main)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())

    def warm_up() -> None:
        asked.append("steps")
        raise CannotCapture("it looks at numbers")

    with pytest.raises(CannotCapture):
        Cuda(0).capture(lambda: None, warm_up)
    assert asked == ["steps", "wait"]


def test_each_gpu_of_a_process_records_where_it_has_warmed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own stream for it is of the first GPU that recorded anything: a graph of another would be empty."""
    entered = list[object]()

    @contextmanager
    def on(stream: object) -> Iterator[None]:
        entered.append(stream)
        yield

    monkeypatch.setattr(torch.cuda, "Stream", lambda place: MagicMock(place=place))
    monkeypatch.setattr(torch.cuda, "current_stream", MagicMock())
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", MagicMock())
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream=None: on(stream))
    first, second = Cuda(0), Cuda(1)
    for device in (first, second, first):
        device.capture(lambda: None, lambda: None)
    assert [stream.place.index for stream in entered] == [0, 0, 1, 1, 0, 0]  # type: ignore[attr-defined]
    assert entered[0] is entered[1] is entered[4]  # with the workspaces that libraries keep for it


def test_a_graph_that_is_empty_is_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def graph(graph: object, stream: object) -> Iterator[None]:
        yield
        warnings.warn("The CUDA Graph is empty. This usually means that the graph was attempted to be", stacklevel=1)

    for name in ("Stream", "current_stream", "stream", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, MagicMock())
    monkeypatch.setattr(torch.cuda, "graph", graph)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with pytest.raises(UserWarning, match="empty"):
            Cuda(0).capture(lambda: None, lambda: None)


def test_who_looks_for_waits_is_not_stopped_by_what_pytorch_says_of_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)  # the mode itself needs no GPU
    torch.set_warn_always(True)  # or it would be said to the first test that asks
    try:
        with Cuda(0).waiting_is_an_error():
            assert torch.cuda.get_sync_debug_mode() == 2
    finally:
        torch.set_warn_always(False)
    assert torch.cuda.get_sync_debug_mode() == 0


def test_what_amd_computes_is_never_called_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert Cuda(0).precisions == {"fp32", "bf16", "fp16"}


@pytest.mark.parametrize("hertz", [2.5e9, 1e8])  # an RTX 4090; an RX 7900, which counts by another clock
def test_a_device_is_kept_busy_for_as_long_as_asked_whatever_clock_it_counts_by(
    monkeypatch: pytest.MonkeyPatch, hertz: float
) -> None:
    now, loaded = 0.0, False
    queue, device = Queue(clock=lambda: now, wait=lambda seconds: None), Cuda(0)

    def spin(cycles: int) -> None:
        nonlocal now, loaded
        now, loaded = now if loaded else 0.02, True  # the first time, the host loads the kernel
        queue.launch(cycles / hertz)

    monkeypatch.setattr(torch.cuda, "_sleep", spin)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda place: None)
    monkeypatch.setattr(device, "event", queue.event)
    assert device.sleep(0.0)
    before = queue.busy_seconds
    for _ in range(2):
        device.sleep(0.25)
    assert queue.busy_seconds - before == pytest.approx(0.5)
    assert before == pytest.approx(2 * SPUN_CYCLES / hertz)


def test_an_accelerator_that_is_passed_over_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cuda, "count", lambda: 0)
    monkeypatch.setattr(Cuda, "why_none", lambda: "")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("mps"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "get_name", lambda: "Apple M3")
    said = list[str]()
    assert devices_for("auto", said.append) == ("cpu",)
    assert said == ["MEASURING ON THE CPU: --device mps takes the Apple M3"]


def test_gpus_are_those_that_cuda_enumerates_and_not_those_that_nvml_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight GPUs that are parted, CUDA shows one part of one; until it is set up, PyTorch counts eight."""
    count = iter([1])

    def properties(device: str) -> SimpleNamespace:
        assert device == "cuda:0", "Invalid device id"
        return SimpleNamespace(major=9, minor=0)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(
        torch.cuda, "init", lambda: monkeypatch.setattr(torch.cuda, "device_count", lambda: next(count))
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    assert devices_for("cuda", print) == ("cuda:0",)


def test_an_intel_gpu_that_does_not_tell_what_is_free_tells_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as Arc B580 and those of Lunar Lake."""

    def refuses(device: object) -> None:
        raise RuntimeError(
            "The device (Intel(R) Arc(TM) B580 Graphics) doesn't support querying the available free memory"
        )

    properties = SimpleNamespace(name="Intel(R) Arc(TM) B580 Graphics", total_memory=12 << 30)
    monkeypatch.setattr(torch.accelerator, "get_memory_info", refuses)
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda device: properties)
    assert Xpu(0).facts() == {"device": properties.name, "gpu_memory_gib": 12.0}
    monkeypatch.setattr(accelerator, "_chosen", [Xpu(0)])
    assert not is_out_of_memory(RuntimeError("unable to find an engine"))


def test_where_the_driver_lends_the_hosts_memory_a_gpu_is_full_when_its_own_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = list[float]()
    monkeypatch.setattr(torch.accelerator, "set_device_index", lambda place: None)
    monkeypatch.setattr(torch.accelerator, "get_memory_info", lambda place: (6 << 30, 8 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda place: SimpleNamespace(total_memory=8 << 30))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, place: shares.append(share))
    Cuda(0).choose()
    assert not shares  # elsewhere the driver says so itself
    monkeypatch.setattr(torch_devices, "LENT", True)
    Cuda(0).choose()
    assert shares == [0.75]  # the rest is the desktop's


@pytest.fixture
def gpu() -> Device:
    return accelerator.choose("cuda:0")


@pytest.mark.gpu
def test_a_gpu_and_its_allocator_are_what_torch_says_of_them(gpu: Device) -> None:
    assert Cuda.count() == torch.cuda.device_count()
    assert (gpu.name, gpu.unusable()) == (torch.cuda.get_device_name(0), "")
    memory = gpu.memory
    assert memory is not None
    assert memory.total == pytest.approx(torch.cuda.mem_get_info(0)[1], rel=0.01)
    memory.reset()
    before = memory.now()
    assert before.held == torch.cuda.memory_allocated(0)
    images = torch.zeros(1 << 20, device=gpu.place)
    del images
    assert memory.now() == MemoryUse(before.held, memory.now().reserved, before.requested)
    assert memory.most().held - before.held == 4 << 20  # whole blocks of 512 bytes
    assert memory.most().requested - before.requested == 4 << 20


@pytest.mark.gpu
def test_a_gpu_is_kept_busy_and_tells_the_time_between_two_marks(gpu: Device) -> None:
    begin = gpu.event()
    assert gpu.sleep(0.1)
    end = gpu.event()
    assert begin is not None
    assert end is not None
    assert not end.query()
    gpu.synchronise()
    assert 50 < begin.elapsed_time(end) < 300  # milliseconds: its clock may change on the way


@pytest.mark.gpu
def test_a_gpu_draws_the_same_again_from_a_state_that_was_kept(gpu: Device) -> None:
    state = gpu.rng_state()
    assert state is not None
    first = torch.rand(8, device=gpu.place)
    gpu.set_rng_state(state)
    assert torch.equal(first, torch.rand(8, device=gpu.place))


@pytest.mark.gpu
def test_a_step_is_replayed_on_a_gpu_and_one_that_looks_at_numbers_is_not_recorded(gpu: Device) -> None:
    ones = torch.ones(4, device=gpu.place)
    doubled = captured(gpu, lambda x: 2 * x, ones)
    assert doubled(3 * ones).tolist() == [6.0] * 4
    with pytest.raises(CannotCapture, match="wait for the device"):
        captured(gpu, lambda x: x * x.sum().item(), ones)
    assert not failed_capture()
    assert (2 * ones).sum().item() == 8.0  # the device goes on, and may be waited for again
