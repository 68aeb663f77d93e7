"""Typed words to dataclasses of flags, with complaints of one line."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import tyro

from bench.config import RequestError


def parse(form: Any, arguments: Sequence[str], prog: str, description: str | None = None) -> Any:
    """An instance of `form`, a dataclass or a union of them; `--help` prints and exits.

    Raises:
        RequestError: the words do not fit the form; tyro would draw a box.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(form, prog=prog, description=description, args=list(arguments))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        lines = [line.strip("│|╭╮╰╯─ \t") for line in complaint.getvalue().splitlines()[1:]]
        said = " ".join(line for line in lines if line.strip("-+")).partition("For full helptext")[0]
        raise RequestError(f"{said.strip()} (see `{prog} --help`)") from None
