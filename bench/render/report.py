"""write_report: a run's folder -> reports/<run>/, complete or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from bench.records.run_folder import Run, RunError
from bench.render.charts import draw_charts, history_charts, image_charts
from bench.render.claims import rulings, write_claims_csv
from bench.render.findings import problems
from bench.render.page import write_pages
from bench.render.page.architecture import architectures
from bench.render.results import read_results, to_table, write_csv
from bench.render.results.kept import Kept
from bench.render.tables import track_tables


def write_report(run: Run, reports: Path) -> Path:
    """Write index.html, report.md, table.csv, claims.csv and figures/ of a run, and return their folder.

    The folder is built next to its final place and swapped in, so that half a report is never seen; an earlier
    report of the same run is replaced as a whole.

    Raises:
        RunError: the records are damaged, or the reports folder cannot be written.
    """
    results = read_results(run)
    kept = Kept(run, results.models)
    curves, flows, layers = kept.curves(), kept.gradient_flows(), kept.layers()
    claims = rulings(results, layers)
    charts = [*draw_charts(results, curves, flows, layers), *history_charts(run), *image_charts(results, kept)]
    sections = architectures(results, track_tables(results), kept.networks(), layers, curves)
    page, short = write_pages(results, charts, problems(results, kept.unreadable), claims, sections)
    files: dict[str, bytes] = {
        "table.csv": write_csv(to_table(results)).encode(),
        "claims.csv": write_claims_csv(claims).encode(),
        "report.md": short.encode(),
        "index.html": page.encode(),
    }
    for chart in charts:
        files[f"figures/{chart.name}.svg"] = chart.svg.encode()
        files[f"figures/{chart.name}.png"] = chart.png
    return swap_in(files, reports / run.name)


def swap_in(files: Mapping[str, bytes], folder: Path) -> Path:
    """Write a folder of files, complete or not at all; an earlier one is replaced as a whole.

    Raises:
        RunError: it cannot be written.
    """
    building = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    retired = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    shutil.rmtree(building, ignore_errors=True)  # what a killed process with our number may have left
    try:
        for name, content in files.items():
            (building / name).parent.mkdir(parents=True, exist_ok=True)
            (building / name).write_bytes(content)
        if folder.exists():
            folder.rename(retired)
        try:
            building.rename(folder)
        except OSError:
            if retired.exists():
                retired.rename(folder)
            raise
    except OSError as error:
        raise RunError(f"cannot write {folder}: {error.strerror}; choose another reports folder") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    shutil.rmtree(retired, ignore_errors=True)
    return folder
