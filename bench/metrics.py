"""Every number that the suite reports: its name, unit, label and which direction is better."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    name: str  # a column of table.csv and the `metric` of a record
    probe: str  # who measures it: a name of bench.probes.PROBES
    unit: str  # as stored
    label: str  # as people read it on an axis, without the unit
    better: Literal["lower", "higher"] | None  # None: a statement, not a score
    meaning: str  # one sentence for the report's method section


_ROWS = (
    Metric("params", "params", "count", "Parameters", "lower", "Trainable parameters, shared tensors once."),
    Metric(
        "macs",
        "macs",
        "count",
        "MACs",
        "lower",
        "Multiply-accumulates of convolution, linear and attention products for one image in eval mode; "
        "no normalisation, bias or activation.",
    ),
    Metric("flops", "macs", "count", "FLOPs", "lower", "Twice the MACs."),
    Metric(
        "macs_fvcore",
        "macs_fvcore",
        "count",
        "MACs (fvcore)",
        "lower",
        "The same products as counted by fvcore on a traced forward pass of real tensors: a second opinion.",
    ),
    Metric(
        "activations",
        "activations",
        "count",
        "Activations",
        "lower",
        "Output elements of convolution, linear and attention products for one image.",
    ),
    Metric(
        "saved_activation_bytes",
        "saved_activation_bytes",
        "bytes/image",
        "Saved activations",
        "lower",
        "Bytes per image of the distinct storages that autograd keeps for backward in training mode at fp32, "
        "without parameters and buffers (slope over the batch size).",
    ),
    Metric(
        "inference_images_per_s",
        "throughput",
        "images/s",
        "Inference throughput",
        "higher",
        "Median over rounds of synchronised forward passes in eval mode; data loading excluded.",
    ),
    Metric(
        "train_images_per_s",
        "throughput",
        "images/s",
        "Training throughput",
        "higher",
        "Median over rounds of synchronised training steps (forward, loss, backward, optimizer); data loading "
        "excluded.",
    ),
    Metric(
        "inference_device_ms",
        "throughput",
        "ms",
        "Device time of inference",
        "lower",
        "Milliseconds that the GPU itself works on a forward pass, by its own clock; where the step takes much longer, "
        "the GPU waits for the host.",
    ),
    Metric(
        "train_device_ms",
        "throughput",
        "ms",
        "Device time of training",
        "lower",
        "Milliseconds that the GPU itself works on a training step, by its own clock.",
    ),
    Metric(
        "latency_ms",
        "latency",
        "ms",
        "Latency",
        "lower",
        "Median time of a forward pass of one image that is waited for.",
    ),
    Metric("latency_p95_ms", "latency", "ms", "Latency, 95th percentile", "lower", "Of the same forward passes."),
    Metric("latency_p99_ms", "latency", "ms", "Latency, 99th percentile", "lower", "Of the same forward passes."),
    Metric(
        "best_inference_images_per_s",
        "best_batch",
        "images/s",
        "Inference throughput at its best batch",
        "higher",
        "As inference throughput, at the batch size of a doubling sweep at which the network is fastest.",
    ),
    Metric(
        "best_train_images_per_s",
        "best_batch",
        "images/s",
        "Training throughput at its best batch",
        "higher",
        "As training throughput, at the batch size of a doubling sweep at which the network is fastest.",
    ),
    Metric(
        "top1",
        "accuracy",
        "fraction",
        "Test accuracy",
        "higher",
        "Share of test images classified correctly at the end of the budget, never the best epoch; the statistics of "
        "batch norm are re-estimated on a few training batches just before.",
    ),
    Metric(
        "train_seconds",
        "accuracy",
        "s",
        "Training time",
        "lower",
        "Wall-clock of the training itself, without evaluation.",
    ),
    Metric(
        "train_images",
        "accuracy",
        "images",
        "Images trained on",
        None,
        "Images seen in training, repeats counted.",
    ),
    Metric("train_epochs", "accuracy", "epochs", "Epochs", None, "Passes over the training set."),
    Metric(
        "train_flops",
        "accuracy",
        "FLOPs",
        "Training FLOPs",
        None,
        "Operations spent in training: images times three times the forward FLOPs (one forward, two backward).",
    ),
    Metric(
        "train_loss",
        "accuracy",
        "nats",
        "Training loss",
        "lower",
        "Mean cross-entropy over the last tenth of the budget.",
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ROWS}

# In the order in which a run takes them: the cheap and exact ones first.
PROBE_NAMES: tuple[str, ...] = tuple(dict.fromkeys(metric.probe for metric in _ROWS))


def metrics_of(probe: str) -> tuple[str, ...]:
    """Names of the metrics that one probe reports."""
    return tuple(metric.name for metric in _ROWS if metric.probe == probe)
