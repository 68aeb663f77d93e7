"""Folders of one test, with no network unless the test starts a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from torchvision import datasets

from bench.data import official
from tests.data import fakes


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fakes.Disk:
    """Downloads are refused, and synthetic images are few."""
    monkeypatch.setattr(datasets.CIFAR10, "url", fakes.refused_url() + official.ARCHIVE)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [fakes.refused_url()])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fakes.few_synthetic_images(monkeypatch)
    return fakes.Disk(tmp_path)
