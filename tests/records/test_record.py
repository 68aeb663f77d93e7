"""A record: one measured number as a line of JSON."""

import json
from dataclasses import replace

import pytest

from bench.records.record import Record
from tests.rows import ok

RECORD = ok("resnet20_cifar", "params", 269_722, samples=(1.0, 2.5))


def test_a_record_survives_json() -> None:
    assert Record.from_json(RECORD.to_json()) == RECORD


def test_a_field_of_a_newer_version_is_ignored() -> None:
    line = json.dumps(json.loads(RECORD.to_json()) | {"from_the_future": 1})
    assert Record.from_json(line) == RECORD


def test_flags_are_a_list_that_is_absent_where_there_is_none() -> None:
    flagged = replace(RECORD, flags=("unsteady", "lower_bound"))
    assert json.loads(flagged.to_json())["flags"] == ["unsteady", "lower_bound"]
    assert Record.from_json(flagged.to_json()) == flagged
    assert "flags" not in json.loads(RECORD.to_json())


@pytest.mark.parametrize(
    ("note", "flags"),
    [
        ("not steady: steps got 9% slower while they were sampled", ("unsteady",)),
        ("tried 8: 90/s; not steady: step times still moved by over 5% when sampling began", ("unsteady",)),
        ("launch-bound: the device works 34% of the step", ("launch_bound",)),
        ("batch 64 did not fit into memory", ()),
    ],
)
def test_a_row_from_before_there_were_flags_has_what_its_note_says(note: str, flags: tuple[str, ...]) -> None:
    assert Record.from_json(replace(RECORD, note=note).to_json()).flags == flags
    assert Record.from_json(replace(RECORD, note=note, value=None, status="failed").to_json()).flags == ()


def test_a_record_has_a_value_exactly_when_it_is_ok() -> None:
    with pytest.raises(ValueError, match="status failed"):
        replace(RECORD, status="failed")
    with pytest.raises(ValueError, match="None"):
        replace(RECORD, value=None)


def test_not_a_number_is_never_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(RECORD, value=float("nan")).to_json()


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "5",
        "null",
        RECORD.to_json().replace("269722", "NaN"),
        RECORD.to_json().replace("269722", '"many"'),
        RECORD.to_json().replace("269722", "true"),
        RECORD.to_json().replace("269722", "1e999"),
        RECORD.to_json().replace('"status": "ok"', '"status": "fine"'),
        RECORD.to_json().replace("[1.0, 2.5]", "3"),
        RECORD.to_json().replace('"model": "resnet20_cifar", ', ""),
    ],
)
def test_what_is_no_record_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Record.from_json(line)
