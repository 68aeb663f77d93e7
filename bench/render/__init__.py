"""From a run's records to tables, charts, Markdown and one self-contained page. Imports no torch.

header     run.json, with every gap filled                -> Header
table      records -> Cell per (model, metric) -> table   -> Results (seeds averaged, intervals derived)
quantity   a number and its unit -> text
readable   Results -> rows of text that both writers print
findings   Results -> three sentences
problems   what failed, was skipped, or carries a note
charts/    Results -> figures
markdown   report.md;  html: index.html (page.html.j2, style.css, sort.js)
report     write_report(run, reports): all of the above into reports/<run>/, swapped in whole
"""
