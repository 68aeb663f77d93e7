"""index.html and report.md."""
