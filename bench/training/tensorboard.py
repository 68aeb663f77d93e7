"""Training curves as TensorBoard events, beside the Parquet files that hold the same."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config import RequestError


def require_tensorboard() -> None:
    """
    Raises:
        RequestError: the package is missing.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise RequestError(
            "--tensorboard needs TensorBoard, which is not installed: pip install 'tensorboard>=2.16,<3'"
        )


def write_events(curve: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Loss and accuracy over images, in place of events that were there before.

    TensorBoard's relative time is the seconds of training.
    """
    from torch.utils.tensorboard import SummaryWriter  # imports TensorBoard, an extra

    shutil.rmtree(folder, ignore_errors=True)
    began = time.time() - curve[-1]["seconds"]
    with SummaryWriter(str(folder)) as writer:
        for point in curve:
            for tag, value in (("loss/train", point["train_loss"]), ("accuracy/test", point["test_top1"])):
                if value is not None:
                    writer.add_scalar(tag, value, point["images"], walltime=began + point["seconds"])
