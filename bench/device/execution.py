"""In which arithmetic and manner a network runs: said once in `Execution`, set both ways, undone afterwards.

Also a step recorded once as a CUDA graph and replayed: the host asks once for what were thousands of launches; and what
is done where memory does not suffice: a smaller batch.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bench.config import Execution, Precision, RequestError
from bench.device import accelerator
from bench.device.accelerator import Device
from bench.quantity import first_line

GRAPH_WARM_UP_STEPS = 3  # libraries set themselves up, and gradients exist, before anything is recorded
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


Arithmetics = Mapping[str, frozenset[Precision]]  # that each device has: "cuda:1 (Tesla T4)" -> fp32, fp16


def arithmetics(devices: Sequence[str]) -> Arithmetics:
    """In what each device computes."""
    them = map(accelerator.named, devices)
    return {each.word if each.is_host else f"{each.word} ({each.name})": each.precisions for each in them}


def check(execution: Execution, devices: Arithmetics) -> None:
    """Whether every device can run so.

    Raises:
        RequestError: one has no such arithmetic.
    """
    for device, has in devices.items():
        if execution.precision not in has:
            raise RequestError(f"{device} has no {execution.precision}: use --precision fp16 or fp32")


@contextmanager
def arithmetic(precision: Precision, autotune: bool = True) -> Iterator[None]:
    """Run fp32 matrix products and convolutions as `precision` says, with the fastest kernels for fixed shapes.

    fp32 is 24-bit arithmetic everywhere: PyTorch's own default lets cuDNN use TF32 for convolutions, and a network's
    module may have let a CPU use bf16. Everything but fp32 allows TF32 for what is left in fp32. With `autotune`, cuDNN
    tries its kernels on the first step of each shape, which warm-up leaves outside every measurement; without, it takes
    what it holds to be the best.
    """
    with settings_kept(_KERNELS):
        # Whoever looks for TF32 in the older way meets an error unless both ways agree; the newer one is inherited.
        _CUDA.matmul.allow_tf32 = _CUDNN.allow_tf32 = precision != "fp32"
        for products in _ON_GPUS:
            products.fp32_precision = "ieee" if precision == "fp32" else "tf32"
        for products in _ON_CPUS:
            products.fp32_precision = "ieee"
        _CUDNN.benchmark = autotune
        # A process keeps the kernel that it first took for a shape, however that was chosen (PyTorch, Conv_v8.cpp), but
        # apart for kernels that must be deterministic: so what is measured in either way is none of the other's.
        _CUDNN.deterministic = not autotune
        yield


def _autocasts() -> int:
    """How many are entered. Casts of weights are dropped at the end of the outermost: within one, every step of a
    training would see those of the first."""
    torch.autocast_increment_nesting()
    return int(torch.autocast_decrement_nesting())


def _set_autocasts(count: int) -> None:
    while _autocasts() < count:
        torch.autocast_increment_nesting()
    while _autocasts() > count:
        torch.autocast_decrement_nesting()


def _anomalies() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if str(device) == "cpu" else device)  # one that is set slows every call down


Setting = tuple[Callable[[], Any], Callable[[Any], object]]  # what it is now, and how to set it to that again


def _switch(module: Any, name: str) -> Setting:
    return partial(getattr, module, name), partial(setattr, module, name)


_BACKENDS: Any = torch.backends
_CUDA, _CUDNN, _ONEDNN = _BACKENDS.cuda, _BACKENDS.cudnn, _BACKENDS.mkldnn
_ON_GPUS = (_CUDA.matmul, _CUDNN.conv, _CUDNN.rnn)
_ON_CPUS = (_ONEDNN.matmul, _ONEDNN.conv, _ONEDNN.rnn)
_KERNELS: tuple[Setting, ...] = (
    _switch(_CUDA.matmul, "allow_tf32"),
    _switch(_CUDNN, "allow_tf32"),
    # A "medium" says more than the switch does.
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    *(_switch(products, "fp32_precision") for products in (*_ON_GPUS, *_ON_CPUS)),
    _switch(_CUDNN, "benchmark"),
    _switch(_CUDNN, "deterministic"),
)
# What no probe sets, and as what PyTorch starts.
_UNSET: tuple[tuple[Callable[[], Any], Callable[[Any], object], Any], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    (torch.get_default_device, _set_default_device, torch.device("cpu")),
    (torch.is_grad_enabled, torch.set_grad_enabled, True),
    (_anomalies, lambda both: torch.set_anomaly_enabled(*both), (False, True)),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, 0),
    (_CUDA.flash_sdp_enabled, _CUDA.enable_flash_sdp, True),
    (_CUDA.mem_efficient_sdp_enabled, _CUDA.enable_mem_efficient_sdp, True),
    (_CUDA.math_sdp_enabled, _CUDA.enable_math_sdp, True),
    (_CUDA.cudnn_sdp_enabled, _CUDA.enable_cudnn_sdp, True),
    (*_switch(_CUDNN, "enabled"), True),
    *(
        (partial(torch.is_autocast_enabled, kind), partial(torch.set_autocast_enabled, kind), False)
        for kind in ("cpu", "cuda", "xpu", "mps")
    ),
    (_autocasts, _set_autocasts, 0),
)
_SETTINGS: tuple[Setting, ...] = (
    (torch.get_num_threads, torch.set_num_threads),
    *((get, set_to) for get, set_to, _ in _UNSET),
    *_KERNELS,
)


@contextmanager
def settings_kept(settings: Sequence[Setting] = _SETTINGS) -> Iterator[None]:
    """Whatever a network switches for the whole process inside, such as its number of threads, is as it was after."""
    before = [_told(get) for get, _ in settings]
    try:
        yield
    finally:
        for (get, set_to), value in zip(settings, before, strict=True):
            if value is not None and _told(get) != value:
                set_to(value)


def as_pytorch_starts() -> None:
    """Undo what a caller may have switched that no probe sets itself; within `settings_kept`."""
    for get, set_to, value in _UNSET:
        if get() != value:
            set_to(value)


def _told(get: Callable[[], Any]) -> Any:
    """None where PyTorch cannot say it, as both of its ways to set it were used: there is no way back to that."""
    try:
        return get()
    except RuntimeError:
        return None


def memory_format(execution: Execution) -> torch.memory_format:
    return torch.channels_last if execution.memory_format == "channels_last" else torch.contiguous_format


def for_inference(network: nn.Module, execution: Execution, device: torch.device) -> nn.Module:
    """The network on the device in eval mode, with weights of the type that it computes in; changed in place."""
    _move(network, execution, device, inference_dtype(execution))
    network.eval()
    return _compiled(network, execution)


def for_training(network: nn.Module, execution: Execution, device: torch.device) -> nn.Module:
    """The network on the device in training mode, with fp32 weights; each forward pass goes under `autocast`."""
    _move(network, execution, device, torch.float32)
    network.train()
    return _compiled(network, execution)


def _move(network: nn.Module, execution: Execution, device: torch.device, dtype: torch.dtype) -> None:
    """Its real weights in one type, whatever their author made them; `Module.to` would make complex ones real.

    What the network's own methods of these names return is left alone: many return nothing.
    """
    network.to(device)
    {torch.float32: network.float, torch.bfloat16: network.bfloat16, torch.float16: network.half}[dtype]()
    nn.Module.to(network, memory_format=memory_format(execution))


def inference_dtype(execution: Execution) -> torch.dtype:
    """Of weights and images in inference."""
    return HALF.get(execution.precision, torch.float32)


def autocast(execution: Execution, device: torch.device) -> AbstractContextManager[object]:
    """Around one forward pass of fp32 weights. Around more than one it would keep casts of weights gone stale."""
    dtype = HALF.get(execution.precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def as_written() -> AbstractContextManager[object]:
    """Around what runs once and is not timed, such as a test or a count: compiling for it would cost more than it
    gains, and hide operators.
    """
    if "torch._dynamo" not in sys.modules:
        return nullcontext()  # nothing is compiled, and the compiler takes seconds to import
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


def _compiled(network: nn.Module, execution: Execution) -> nn.Module:
    if execution.compile:
        # What a process has compiled for another batch size would make this one compile for any size, and after a few
        # of them run as written; what is recorded as a graph would keep its memory.
        torch.compiler.reset()
        # In place, so that parameters keep their names. `network.compile()` would do that too, but in PyTorch 2.11 it
        # leaves an `nn.Sequential`, and so LeNet, as it was.
        network.forward = torch.compile(network.forward, mode=execution.compile_mode)
    return network


class CannotCapture(Exception):
    """A step that no graph can hold, found out before anything was recorded; the message is the reason."""


class CaptureFailed(BaseException):
    """A step could not be recorded, which leaves the stream, the allocator and the generators in no known state.

    Nothing more may be measured or trained in this process, so no handler of ordinary errors stops it.
    """


_failed_captures: list[str] = []


def failed_capture() -> str:
    """Why this process is of no further use; empty if it is. Cleaning up after a failed capture may fail as well, and
    its error takes the place of the first."""
    return _failed_captures[0] if _failed_captures else ""


@dataclass(frozen=True)
class _Replay:
    """A recorded step. The graph knows nothing but addresses: what lies there, such as weights, is kept by this."""

    step: Callable[..., Tensor]
    own: Sequence[Tensor]
    output: Tensor
    replayed: Callable[[], None]

    def __call__(self, *inputs: Tensor) -> Tensor:
        for place, tensor in zip(self.own, inputs, strict=True):
            place.copy_(tensor)
        self.replayed()
        return self.output


def captured(
    device: Device, step: Callable[..., Tensor], *inputs: Tensor, why_not: Callable[[], str] = str
) -> Callable[..., Tensor]:
    """`step(*inputs)` as a graph: the same function of tensors of the same shapes.

    It runs a few times for real before it is recorded, the last time to see whether it can be. Before that, `why_not`
    may take steps to see why it should not be. All of them are taken where it is recorded: what a network keeps of one,
    such as an output with its history, brings along where it was computed. What the replay returns is overwritten by
    the next replay.

    Raises:
        CannotCapture: `why_not` says so, or the step makes the host wait for the device, as when it looks at numbers.
        CaptureFailed: it does something else that a graph cannot hold.
    """
    own = [tensor.clone() for tensor in inputs]
    is_warm = False

    def warm_up() -> None:
        nonlocal is_warm
        if reason := why_not():
            raise CannotCapture(reason)
        for _ in range(GRAPH_WARM_UP_STEPS - 1):
            step(*own)
        try:
            with device.waiting_is_an_error():
                step(*own)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise CannotCapture(f"its step makes the host wait for the device ({first_line(error)})") from error
        is_warm = True

    try:
        output, replayed = device.capture(lambda: step(*own), warm_up)
    except Exception as error:
        if not is_warm:
            raise
        _failed_captures.append(first_line(error))
        raise CaptureFailed(first_line(error)) from error

    return _Replay(step, own, output, replayed)


Result = TypeVar("Result")

# Of the CPU's allocator, which has no error of its own, and of what takes a device's memory without asking PyTorch's
# allocator: the driver, cuBLAS, cuDNN, XPU, a graph that is made ready. The text is all there is to go by.
_IN_OTHER_WORDS = (
    *("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED", "OUT_OF_DEVICE_MEMORY"),
    "_ALLOCATION_FAILED",  # cuDNN 9: of the host or of the device
    "NVML_SUCCESS ==",  # PyTorch to 2.13: it asks NVML who has the memory that lacks, and in a part of a GPU may not
)
# cuDNN tries its kernels one after the other, and says so little where no workspace was to be had (pytorch#108645); and
# libraries that cannot take what they need for themselves were "not initialized".
_WHERE_LITTLE_IS_FREE = (
    *("unable to find an engine", "Unable to find a valid cuDNN algorithm"),
    *("STATUS_NOT_INITIALIZED", "CUDNN_STATUS_INTERNAL_ERROR"),
)
LITTLE = 1 / 4  # of the device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this or what it came from is lack of memory: the end of a failed capture hides why it has failed."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, RuntimeError):
        if any(text in str(error) for text in _IN_OTHER_WORDS):
            return True
        if any(text in str(error) for text in _WHERE_LITTLE_IS_FREE):
            memory = accelerator.chosen().memory
            with contextlib.suppress(RuntimeError):  # a device that is lost does not tell, nor do some of Intel's
                return memory is not None and memory.free < LITTLE * memory.total
    before = error.__cause__ or error.__context__
    return before is not None and is_out_of_memory(before)


def by_its_name(error: Exception) -> Exception:
    """An error without what it holds, every tensor of the attempt; told while it holds them whether memory lacked."""
    if is_out_of_memory(error) and not isinstance(error, torch.OutOfMemoryError | MemoryError):
        return torch.OutOfMemoryError(first_line(error))
    return error.with_traceback(None)


def with_batch_that_fits(attempt: Callable[[int], Result], batch_size: int) -> tuple[Result, int]:
    """`attempt(batch_size)`, halving the batch as long as memory does not suffice: the result and the batch used.

    Raises:
        Exception: whatever `attempt` raises for any other reason, or for lack of memory at a batch of one.
    """
    while True:
        try:
            return attempt(batch_size), batch_size
        except Exception as error:
            if not is_out_of_memory(error) or batch_size == 1:
                raise
        release_memory()  # outside of the handler, where the error still holds every tensor of the attempt
        batch_size //= 2


def release_memory() -> None:
    """Give back what nothing refers to any more, so that the next network starts as the first did."""
    with contextlib.suppress(RuntimeError):  # of a device that is lost: its next use finds out
        if _has_compiled():  # all that is kept until then, and so are graphs that were recorded of it
            torch.compiler.reset()
        gc.collect()
        memory = accelerator.chosen().memory
        if memory is not None:
            memory.release()


def _has_compiled() -> bool:
    """Whether this process has, since the last reset: on a GPU, a reset imports all of the compiler, for a second."""
    compiler = sys.modules.get("torch._dynamo.convert_frame")
    return compiler is not None and bool(getattr(compiler, "FRAME_COUNTER", True))
