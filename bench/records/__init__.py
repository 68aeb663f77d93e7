"""What a run writes and everything else reads: records, the run folder, files that survive a crash.

`bench.records` is this package, and the function `bench.records(run)` of `bench.records.frame`: importing any of its
modules binds the name in `bench` to the package, so the package can be called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from bench.records.run_folder import Run


class _Records(ModuleType):
    def __call__(self, run: str | Path | Run, results_dir: str | Path = "results") -> pd.DataFrame:
        from bench.records.frame import records

        return records(run, results_dir)


sys.modules[__name__].__class__ = _Records
