"""The made-up libnvidia-ml.so.1 of nvml_library.c, compiled and put under the real nvidia-ml-py."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

SOURCE = Path(__file__).with_suffix(".c")
UUID = "b66d2b9f-1111-2222-3333-444455556666"
Install = Callable[..., None]


@cache
def compiled(*options: str) -> Path:
    """The library; skips the test where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = Path(mkdtemp(prefix="nvml-"), "libnvidia-ml.so.1")
    subprocess.run([compiler, "-shared", "-fPIC", *options, "-o", library, SOURCE, "-lm"], check=True)
    return library


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs it for one test: `driver(refuses="...", mig="1")` sets FAKE_NVML_REFUSES and FAKE_NVML_MIG."""
    import pynvml

    def install(*options: str, **settings: str) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(f"FAKE_NVML_{name.upper()}", value)
        monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(compiled(*options))))
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})

    return install
