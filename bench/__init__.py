"""What does each classic architecture cost, and what does it buy?

From the flags to the page, as `python -m bench run` goes, in code that runs (tests/test_walk.py):

    from pathlib import Path
    from bench.render.report import write_report
    from bench.runner.execute import execute
    from bench.runner.plan import plan, remaining
    from bench.runner.prepare import prepare
    from bench.runner.header import open_run
    from bench.runner.request import Request

    request = Request(models=("lenet5_cifar",))  # the flags as typed
    prepared = prepare(request, ("params", "macs"), print)  # nothing left open: Config, Inputs, networks, devices
    with open_run(prepared, ["a walk"]) as run, run.writer() as writer:  # results/<run>/run.json
        tasks = plan(prepared.specs, prepared.config, prepared.inputs)  # every network, probe, round and seed once
        for task in remaining(tasks, run.records(), retry_failed=False):  # a run that is resumed has some already
            outcome = execute(task, prepared.devices[0])  # MEASURE[probe](task); in a worker process of bench.engines
            writer.append(outcome.records)  # results/<run>/records.jsonl, a line for each number
    page = write_report(run, Path("reports")) / "index.html"  # bench.render: tables, charts, a page; needs no torch

From a flag to a measurement it passes eight modules: `bench.cli.main` (words), `bench.cli.measure` (the verb),
`bench.runner.request` (a Config), `bench.runner.prepare` (what can be wrong), `bench.runner.execute` (the work),
`bench.runner.plan` (its tasks), `bench.engines.local` (a worker process) and a probe, such as `bench.probes.counts`.

`python -m bench --help` lists the commands. `import bench` costs nothing and gives `bench.measure`, `layers`, `table`,
`records`, `chart`, `registry` and `build`, each imported when it is first used: docs/python.md.
"""

import random
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.config import RequestError
    from bench.records import records
    from bench.records.run_folder import RunError
    from bench.render.notebook import chart, table
    from bench.runner.measure import build, layers, measure, registry

# models/ stands beside this folder in a clone and inside it in an installed package, and is `bench.models` in both:
# the name `models` belongs to the project of whoever measures a network of their own. typings/ tells type checkers.
__path__.append(str(Path(__file__).resolve().parents[1]))

_FROM = {  # name -> module; `records` is the package of that name, which can be called
    "RequestError": "bench.config",
    "RunError": "bench.records.run_folder",
    "build": "bench.runner.measure",
    "chart": "bench.render.notebook",
    "layers": "bench.runner.measure",
    "measure": "bench.runner.measure",
    "registry": "bench.runner.measure",
    "table": "bench.render.notebook",
}

__all__ = ["RequestError", "RunError", "build", "chart", "layers", "measure", "records", "registry", "table"]


if not TYPE_CHECKING:  # a type checker has the imports above, and knows that there is nothing else

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'bench' has no attribute {name!r}")
        before = random.getstate()  # rich draws from it when it is imported
        found = import_module(_FROM.get(name, "bench.records"))
        random.setstate(before)
        return found if name == "records" else getattr(found, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
