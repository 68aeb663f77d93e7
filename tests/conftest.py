"""What holds for every test: GPU tests run wherever there is a GPU, and results are never written to the checkout."""

import os

import pytest

# As bench.engines.local: before torch is imported, so that tests stay fast beside anything else that runs.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needy = [item for item in items if item.get_closest_marker("gpu")]
    if not needy:
        return
    import torch  # only here: the tests of the report run without torch

    if not torch.cuda.is_available():
        for item in needy:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
