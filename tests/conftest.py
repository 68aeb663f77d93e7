"""What holds for every test: GPU tests run wherever there is a GPU, and results are never written to the checkout."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needy = [item for item in items if item.get_closest_marker("gpu")]
    if not needy:
        return
    import torch  # only here: the tests of the report run without torch

    if not torch.cuda.is_available():
        for item in needy:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
