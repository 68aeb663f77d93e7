"""Which metrics stand together in a table, in which order, and which few a reader needs first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.metrics import Metric


@dataclass(frozen=True)
class Topic:
    title: str
    metrics: tuple[str, ...]  # in the order of their columns


# One table that fits on a screen: what a network buys, then what it costs.
OVERVIEW = (
    "top1",
    "params",
    "macs",
    "peak_training_bytes",
    "inference_images_per_s",
    "train_images_per_s",
    "latency_ms",
    "energy_joules_per_image",
    "mfu",
)

TOPICS = (
    Topic("Accuracy and training", ("top1", "reference_top1", "published_top1", "train_seconds", "compile_seconds")),
    Topic(
        "How soon an accuracy is reached",
        tuple(f"{currency}_to_{level}" for level in (70, 80, 90) for currency in ("seconds", "images", "flops")),
    ),
    Topic("Size and work", ("params", "macs", "activations", "traffic_bytes", "arithmetic_intensity")),
    Topic(
        "Memory of a training step",
        (
            "peak_training_bytes",
            "predicted_training_bytes",
            "reserved_training_bytes",
            "weight_bytes",
            "gradient_bytes",
            "optimizer_bytes",
            "activation_bytes",
            "workspace_bytes",
            "saved_activation_bytes",
            "largest_training_batch",
        ),
    ),
    Topic(
        "Memory of inference",
        (
            "peak_inference_bytes",
            "predicted_inference_bytes",
            "reserved_inference_bytes",
            "largest_inference_batch",
        ),
    ),
    Topic(
        "Speed",
        (
            "inference_images_per_s",
            "best_inference_images_per_s",
            "inference_device_ms",
            "train_images_per_s",
            "best_train_images_per_s",
            "train_device_ms",
            "latency_ms",
            "latency_p95_ms",
            "latency_p99_ms",
        ),
    ),
    Topic(
        "Gradients from the first layer to the last",
        ("gradient_norm_ratio", "gradient_norm_ratio_sigmoid", "gradient_norm_ratio_batch_norm"),
    ),
    Topic(
        "Energy and utilisation",
        (
            "energy_joules_per_image",
            "train_energy_joules_per_image",
            "idle_watts",
            "achieved_flops_per_s",
            "inference_mfu",
            "mfu",
        ),
    ),
)

# In table.csv only: the numbers of another column once more, and what training curves show better.
_RESTATED = ("flops", "macs_fvcore", "train_loss")


def by_topic(metrics: Sequence[Metric]) -> list[tuple[str, list[Metric]]]:
    """The metrics that tables show, under the titles of their topics; scores that no topic names come last."""
    known = {metric.name: metric for metric in metrics}
    topics = [(topic.title, [known[name] for name in topic.metrics if name in known]) for topic in TOPICS]
    named = {name for topic in TOPICS for name in topic.metrics}
    others = [m for m in metrics if m.name not in named and m.name not in _RESTATED and m.better is not None]
    return [(title, columns) for title, columns in [*topics, ("Other measurements", others)] if columns]
