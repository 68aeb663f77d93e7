"""Every number that the suite reports, and what kind of measurement it comes from."""

from dataclasses import dataclass, replace
from typing import Literal

DERIVED = "derived"  # in place of a probe: worked out from other metrics when a report is made

# What a reader must be warned of at a number.
Flag = Literal[
    "unsteady",  # timing had not settled
    "throttled",  # the device's clock was held back
    "launch_bound",  # the device waits for the host
    "lower_bound",  # an operator without a formula is not counted
    "above_peak",  # more than the device can do
    "left_out",  # not measured, as it would have taken too long
]

LEVELS = (70, 80, 90)  # percent of test accuracy, until which it is measured what training takes


@dataclass(frozen=True)
class Probe:
    """What kind of measurement a probe is: everything that a plan, a table or a comparison asks of it.

    `when` is "static" (needs no device, and finds the same number everywhere), "once", in "rounds" over all networks,
    once for each of the "seeds", or as a "forecast" on which the plan of the rest depends.
    """

    name: str
    when: Literal["static", "forecast", "once", "rounds", "seeds"] = "once"
    precision: Literal["run", "fp32"] = "run"  # fp32: whatever the precision of the run
    repeatable: bool = False  # measured, and found the same again: what differs is no scatter
    trains: bool = False  # its rows belong to a data set and a budget
    portable: bool = False  # its numbers, but for those in seconds, do not depend on the device
    own_batch: bool = False  # each network at the batch size that suits it: no common one to hold it against
    code: str = ""  # module and function in bench/probes; empty: `measure` in the module of its name

    @property
    def exact(self) -> bool:
        """Whether it counts: any difference between two of its numbers is a change."""
        return self.when == "static"


# In the order in which a run takes them: the cheap and exact ones first.
PROBES: dict[str, Probe] = {
    probe.name: probe
    for probe in (
        Probe("params", "static", "fp32", code="counts.params"),
        Probe("macs", "static", "fp32", code="counts.macs"),
        Probe("macs_fvcore", "static", "fp32", code="counts.macs_fvcore"),
        Probe("activations", "static", "fp32", code="counts.activations"),
        Probe("saved_activation_bytes", "static", "fp32", code="counts.saved_activations"),
        Probe("traffic", "static", code="counts.traffic"),
        Probe("predicted_memory", "static", code="memory.predict"),
        Probe("train_time", "forecast", code="accuracy.forecast"),
        Probe("throughput", "rounds", code="speed.throughput"),
        Probe("latency", "rounds", code="speed.latency"),
        Probe("energy"),
        Probe("memory", repeatable=True),
        Probe("best_batch", own_batch=True, code="speed.best_batch"),
        Probe("gradient_flow", precision="fp32"),
        Probe("accuracy", "seeds", trains=True, portable=True),
    )
}


def probe_named(name: str) -> Probe:
    """The kind of a probe; of one that this version does not know, that of a plain measurement."""
    return PROBES.get(name) or Probe(name)


@dataclass(frozen=True)
class Metric:
    name: str  # a column of table.csv and the `metric` of a record
    probe: str  # who measures it: a name of PROBES, or DERIVED
    unit: str  # as stored
    label: str  # as people read it on an axis, without the unit
    better: Literal["lower", "higher"] | None  # None: a statement, not a score
    meaning: str = ""  # one sentence for the report's method section
    predicts: str = ""  # the metric of which this is a prediction
    device_time: str = ""  # the metric that says how long the device itself works on the same step


# Each metric, and its meaning.
_MEANINGS: dict[Metric, str] = {
    Metric("params", "params", "count", "Parameters", "lower"): "Trainable parameters, shared tensors once.",
    Metric("macs", "macs", "count", "MACs", "lower"): (
        "Multiply-accumulates of convolution, linear and attention products for one image in eval mode; "
        "no normalisation, bias or activation."
    ),
    Metric("flops", "macs", "count", "FLOPs", "lower"): "Twice the MACs.",
    Metric("uncounted_share", "macs", "fraction", "Operators not counted", "lower"): (
        "Share of the calls of operators that compute products, or may do so, for which there is no formula: above "
        "zero, the MACs are a lower bound."
    ),
    Metric("macs_fvcore", "macs_fvcore", "count", "MACs (fvcore)", "lower"): (
        "The same products as counted by fvcore on a traced forward pass of real tensors: a second opinion."
    ),
    Metric("activations", "activations", "count", "Activations", "lower"): (
        "Output elements of convolution, linear and attention products for one image."
    ),
    Metric("saved_activation_bytes", "saved_activation_bytes", "bytes/image", "Saved activations", "lower"): (
        "Bytes per image of the distinct storages that autograd keeps for backward in training mode at fp32, the image "
        "included, without parameters and buffers (slope over the batch size); attention as the fused kernel of a CPU."
    ),
    Metric("traffic_bytes", "traffic", "bytes/image", "Memory traffic", "lower"): (
        "Bytes per image that the operators of an eager inference pass read and write if each of them reads its inputs "
        "and writes its outputs once, weights once per batch; at the batch size and precision of the run."
    ),
    Metric("arithmetic_intensity", "traffic", "FLOP/byte", "Arithmetic intensity", None): (
        "FLOPs of an inference pass per byte of its memory traffic; low values mean memory-bound."
    ),
    Metric(
        "inference_images_per_s",
        "throughput",
        "images/s",
        "Inference throughput",
        "higher",
        device_time="inference_device_ms",
    ): ("Median over rounds of synchronised forward passes in eval mode; data loading excluded."),
    Metric(
        "train_images_per_s", "throughput", "images/s", "Training throughput", "higher", device_time="train_device_ms"
    ): (
        "Median over rounds of synchronised training steps (forward, loss, backward, optimizer); data loading excluded."
    ),
    Metric(
        "inference_device_ms",
        "throughput",
        "ms",
        "Device time of inference",
        "lower",
        device_time="inference_device_ms",
    ): (
        "Milliseconds that the GPU itself works on a forward pass, by its own clock; where the step takes much longer, "
        "the GPU waits for the host."
    ),
    Metric("train_device_ms", "throughput", "ms", "Device time of training", "lower", device_time="train_device_ms"): (
        "Milliseconds that the GPU itself works on a training step, by its own clock."
    ),
    **{
        Metric(f"train_{part}_ms", "throughput", "ms", f"{part.capitalize()} of a training step", "lower"): (
            f"Milliseconds of {what}, in further steps like those of the training throughput: by the clock of an "
            "accelerator where there is one. The three parts add up to a step."
        )
        for part, what in (
            ("forward", "the forward pass of a training step and its loss"),
            ("backward", "the backward pass of a training step"),
            ("optimizer", "the optimizer in a training step: clipping, update and dropping of gradients"),
        )
    },
    Metric("latency_ms", "latency", "ms", "Latency", "lower"): (
        "Median time of a synchronised forward pass of one image."
    ),
    Metric("latency_p95_ms", "latency", "ms", "Latency, 95th percentile", "lower"): (
        "The same forward passes, 95 % of which take no longer."
    ),
    Metric("latency_p99_ms", "latency", "ms", "Latency, 99th percentile", "lower"): (
        "The same forward passes, 99 % of which take no longer."
    ),
    Metric("replayed_latency_ms", "latency", "ms", "Latency, replayed", "lower"): (
        "Median time of the same forward pass, synchronised, where it is recorded once and replayed as a CUDA graph: "
        "the host asks once for what it otherwise launches one by one."
    ),
    Metric(
        "best_inference_images_per_s", "best_batch", "images/s", "Inference throughput at its best batch", "higher"
    ): ("As inference throughput, at the batch size of a doubling sweep at which the network is fastest."),
    Metric("best_train_images_per_s", "best_batch", "images/s", "Training throughput at its best batch", "higher"): (
        "As training throughput, at the batch size of a doubling sweep at which the network is fastest."
    ),
    Metric("peak_inference_bytes", "memory", "bytes", "Peak memory of inference", "lower"): (
        "Most bytes held during a forward pass in eval mode, weights and images included: by the CUDA "
        "allocator, warm, above what was held before the network was built; predicted on other devices."
    ),
    Metric("peak_training_bytes", "memory", "bytes", "Peak memory of training", "lower"): (
        "Most bytes held during a training step that is not the first (forward, loss, backward, optimizer), "
        "weights, images, gradients and optimizer state included: by the CUDA allocator, warm, above what was"
        " held before the network was built; predicted on other devices."
    ),
    Metric(
        "predicted_inference_bytes",
        "predicted_memory",
        "bytes",
        "Predicted peak memory of inference",
        "lower",
        predicts="peak_inference_bytes",
    ): (
        "The same peak by a replay of the pass on the meta device that follows every tensor from its birth to"
        " its death; scratch space inside of kernels is not in it."
    ),
    Metric(
        "predicted_training_bytes",
        "predicted_memory",
        "bytes",
        "Predicted peak memory of training",
        "lower",
        predicts="peak_training_bytes",
    ): (
        "The same peak by a replay of the step on the meta device that follows every tensor from its birth to"
        " its death; scratch space inside of kernels is not in it."
    ),
    Metric("weight_bytes", "predicted_memory", "bytes", "Weights", "lower"): (
        "Weights and buffers at the moment of the predicted peak of training."
    ),
    Metric("gradient_bytes", "predicted_memory", "bytes", "Gradients at the peak", "lower"): (
        "Gradients of weights at the moment of the predicted peak of training."
    ),
    Metric("optimizer_bytes", "predicted_memory", "bytes", "Optimizer state", "lower"): (
        "What the optimizer keeps between steps, at the moment of the predicted peak of training."
    ),
    Metric("activation_bytes", "predicted_memory", "bytes", "Saved activations at the peak", "lower"): (
        "The batch and what autograd still keeps for the backward pass, half-precision copies of weights "
        "included, at the moment of the predicted peak of training."
    ),
    Metric("workspace_bytes", "predicted_memory", "bytes", "Transient workspace", "lower"): (
        "All else at the moment of the predicted peak of training: outputs that nothing keeps, gradients of "
        "activations, temporaries. The five parts add up to the peak."
    ),
    Metric("reserved_inference_bytes", "memory", "bytes", "Reserved memory of inference", "lower"): (
        "What the CUDA allocator reserved from the device during the measured forward passes."
    ),
    Metric("reserved_training_bytes", "memory", "bytes", "Reserved memory of training", "lower"): (
        "What the CUDA allocator reserved from the device during the measured training steps."
    ),
    Metric("largest_inference_batch", "memory", "count", "Largest batch of inference", "higher"): (
        "The largest batch size whose predicted peak is within the memory named with --fit."
    ),
    Metric("largest_training_batch", "memory", "count", "Largest batch of training", "higher"): (
        "The largest batch size whose predicted peak is within the memory named with --fit."
    ),
    Metric("energy_joules_per_image", "energy", "J", "Inference energy", "lower"): (
        "Joules of the whole GPU board per image of inference, idle power included; on a CPU of its packages and "
        "memory, whoever uses them. Boards sample their power a part of the time: readings have been found wrong by "
        "tens of percent (arXiv:2312.02741)."
    ),
    Metric("train_energy_joules_per_image", "energy", "J", "Training energy", "lower"): (
        "Joules per image of training, of the same as in inference."
    ),
    Metric("achieved_flops_per_s", DERIVED, "FLOP/s", "Achieved FLOP/s", "higher"): (
        "FLOPs of one image times the inference throughput."
    ),
    Metric("inference_mfu", DERIVED, "fraction", "Utilisation in inference", "higher"): (
        "Achieved FLOP/s as a share of the device's peak for dense matrix products at this precision: the vendor's "
        "figure where it is known, else the fastest product or convolution measured in this run."
    ),
    Metric("mfu", DERIVED, "fraction", "Utilisation in training", "higher"): (
        "Three times the FLOPs of one image (one forward pass, two backward) times the training throughput, as a share "
        "of the same peak (model FLOPs utilisation)."
    ),
    Metric("gradient_norm_ratio", "gradient_flow", "ratio", "First-to-last gradient ratio", None): (
        "Norms of the weights' gradients at initialisation, with ReLU and He's initial weights and without batch norm; "
        "median over draws of weights and batches."
    ),
    Metric("gradient_norm_ratio_sigmoid", "gradient_flow", "ratio", "First-to-last gradient ratio, sigmoid", None): (
        "As the gradient ratio, with sigmoid in place of ReLU."
    ),
    Metric(
        "gradient_norm_ratio_batch_norm", "gradient_flow", "ratio", "First-to-last gradient ratio, batch norm", None
    ): ("As the gradient ratio, with the batch norm that the paper's networks have."),
    Metric("top1", "accuracy", "fraction", "Test accuracy", "higher"): (
        "Share of test images classified correctly at the end of the budget, never the best epoch; the statistics of "
        "batch norm are re-estimated on a few training batches just before."
    ),
    Metric("train_seconds", "accuracy", "s", "Training time", "lower"): (
        "Wall-clock of the training itself, without evaluation."
    ),
    Metric("reference_top1", DERIVED, "fraction", "Reference accuracy", "higher"): (
        "Test accuracy that this suite measured elsewhere, shipped with the package: the same network, recipe, data "
        "set and budget, all images."
    ),
    Metric("published_top1", DERIVED, "fraction", "Published accuracy", "higher"): (
        "Test accuracy after full training that others published, of the same network on the track's images: CIFAR-10, "
        "or ImageNet's validation images. The column published_source says who, and how it was trained."
    ),
    Metric("predicted_train_seconds", "train_time", "s", "Predicted training time", None, predicts="train_seconds"): (
        "What training under the budget would take on this machine: a few timed steps times their number."
    ),
    Metric("train_images", "accuracy", "images", "Images trained on", None): (
        "Images seen in training, repeats counted."
    ),
    Metric("train_epochs", "accuracy", "epochs", "Epochs", None): "Passes over the training set.",
    Metric("train_flops", "accuracy", "FLOPs", "Training FLOPs", None): (
        "Operations spent in training: images times three times the forward FLOPs (one forward, two backward)."
    ),
    Metric("train_loss", "accuracy", "nats", "Training loss", "lower"): (
        "Mean cross-entropy over the last tenth of the budget."
    ),
    Metric("compile_seconds", "accuracy", "s", "Compilation", "lower"): (
        "Wall-clock of the first training step where networks are compiled, and of all else that is paid once; it is "
        "outside the budget."
    ),
    **{
        Metric(f"{currency}_to_{level}", "accuracy", unit, f"{label} to {level} %", "lower"): (
            f"{label} until test accuracy first reached {level} %, on the straight line between the first test at or "
            "above it and the one before; batch norm is as training left it."
        )
        for level in LEVELS
        for currency, unit, label in (
            ("seconds", "s", "Training time"),
            ("images", "images", "Images"),
            ("flops", "FLOPs", "Training FLOPs"),
        )
    },
}

METRICS: dict[str, Metric] = {metric.name: replace(metric, meaning=meaning) for metric, meaning in _MEANINGS.items()}


def metrics_of(probe: str) -> tuple[str, ...]:
    """Names of the metrics that one probe reports, or of those that are derived."""
    return tuple(metric.name for metric in METRICS.values() if metric.probe == probe)


def measured_by(name: str) -> str:
    """The probe that measures a metric; what is the name of none, as it is."""
    return METRICS[name].probe if name in METRICS and METRICS[name].probe != DERIVED else name
