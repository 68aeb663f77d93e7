"""What does each classic architecture cost, and what does it buy?

    models.REGISTRY[name] -> ModelSpec                      what exists
    bench.probes          -> measure(spec, config)          one file per measurement
    bench.runner          -> plan, resume, records          every (model, probe, seed) once
    bench.engines         -> worker processes, one a device
    bench.records         -> results/<run>/                 records.jsonl: one JSON line per number
    bench.render          -> reports/<run>/                 tables, charts, a page; needs no torch

`python -m bench --help` lists the commands.
"""
