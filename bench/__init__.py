"""What does each classic architecture cost, and what does it buy?

    bench.models          -> REGISTRY[name], a ModelSpec    what exists: the folder models/
    bench.probes          -> measure(spec, config)          one file per measurement
    bench.runner          -> plan, resume, records          every (model, probe, seed) once
    bench.engines         -> worker processes, one a device
    bench.records         -> results/<run>/                 records.jsonl: one JSON line per number
    bench.render          -> reports/<run>/                 tables, charts, a page; needs no torch

`python -m bench --help` lists the commands.
"""

from pathlib import Path

# models/ stands beside this folder in a clone and inside it in an installed package, and is `bench.models` in both:
# the name `models` belongs to the project of whoever measures a network of their own.
__path__.append(str(Path(__file__).resolve().parents[1]))
