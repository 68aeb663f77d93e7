"""The figures of a run's images: what each data set looks like, and where its most accurate network errs."""

from __future__ import annotations

from bench.records.run_folder import Run
from bench.render.charts.confusion import confusion_chart
from bench.render.charts.figure import Chart, slug
from bench.render.charts.image_grid import sample_chart
from bench.render.results.image_grid import DataSet, read_confusions, read_data_sets
from bench.render.results.table import AccuracyGroup, Results

KINDS = ("samples", "confusion")


def image_charts(run: Run, results: Results) -> tuple[list[Chart], list[str]]:
    """For each data set its images and the confusion matrix; and the names of the files that cannot be read."""
    charts: list[Chart | None] = []
    unreadable: list[str] = []
    for data_set in read_data_sets(run):
        stem = f"{slug(data_set.track)}-{slug(data_set.name)}"
        charts.append(sample_chart(data_set, stem))
        for group in results.accuracy_groups():
            if (group.track, group.dataset) == (data_set.track, data_set.name):
                chart, damaged = _mistakes(run, results, group, data_set, stem)
                charts.append(chart)
                unreadable += damaged
                break  # the largest group: under one budget
    return [chart for chart in charts if chart is not None], unreadable


def _mistakes(
    run: Run, results: Results, group: AccuracyGroup, data_set: DataSet, stem: str
) -> tuple[Chart | None, list[str]]:
    best = max(group.models, key=lambda model: results.cell(model, "top1").value)
    found, unreadable = read_confusions(run, results.cell(best, "top1").records, len(data_set.classes))
    if found is None:
        return None, unreadable
    return confusion_chart(results, group, best, data_set.classes, found, stem), unreadable
