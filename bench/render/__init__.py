"""From a run's records to tables, charts, Markdown and one self-contained page. Imports no torch.

header     run.json, with every gap filled                -> Header
derived    records -> rows that follow from others: use of the device
table      records -> Cell per (model, metric) -> table   -> Results (seeds averaged, intervals derived)
quantity   a number and its unit -> text
topics     which metrics stand together;  marks: which numbers must not be read like their neighbours
readable   Results -> tables of text that all writers print
depth      where in a network its costs sit;  textbook: accuracies that others published
claims/    what others claim, and the verdict of these Results on it
findings   Results -> a few sentences;  low_use: why some networks use little of the device
problems   what failed, was skipped, or carries a note;  machine: its state and its limits
charts/    Results -> figures
explorer   the interactive chart of the page: its data and choices, and Plotly, packed
markdown   report.md;  html: index.html (page.html.j2, style.css, table.js, explorer.js)
report     write_report(run, reports): all of the above into reports/<run>/, swapped in whole
"""
