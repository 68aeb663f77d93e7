"""From a run's records to tables, charts, Markdown and one self-contained page. Imports no torch.

results/   records -> Results: one Cell per (model, metric), seeds averaged, intervals derived; what others published
tables     Results -> tables of text that the page, report.md and the terminal print; marks, and the line under a title
findings/  Results -> sentences: rankings, Pareto fronts, utilisation, what failed
claims/    what others claim, and the verdict of these Results on it
charts/    Results -> figures;  diagram/: a network's structure -> SVG
page/      index.html and report.md, and two runs side by side; its templates, styles and scripts are in page/parts/
report     write_report(run, reports): all of the above into reports/<run>/, swapped in whole
notebook   bench.table and bench.chart
"""
