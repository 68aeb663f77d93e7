"""Whatever happened to a file: it is read right, or refused with an error of the suite's own that says why.

A few damages of each kind here; `--hypothesis-profile=full` tries thousands.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.config import Budget, RequestError
from bench.data import official, parquet
from bench.records.record import Record
from bench.records.run_folder import Run, RunError, RunHeader, header_of
from bench.render.results import read_results, to_table, write_csv
from tests.configs import new_run
from tests.data import fakes
from tests.rows import ok

RECORDS = [
    ok("resnet20_cifar", "params", 269_722, samples=(1.0, 2.5)),
    Record(
        "resnet20_cifar", "accuracy", "top1", None, "fraction", "timeout", "stopped after 5 s", seed=2, budget="1ep"
    ),
    Record(
        "timm:né/x",
        "latency",
        "latency_ms",
        0.25,
        "ms",
        "ok",
        note='"quoted"\t',
        device="cuda:0",
        hardware="A",
        round=1,
    ),
]
HEADER = {
    "version": 1,
    "models": [{"name": "resnet20_cifar", "family": "ResNet", "year": 2015, "track": "cifar", "num_classes": 10}],
    "environment": {"device": "a CPU", "torch": "2.12"},
    "image_sets": {"cifar": {"name": "synthetic", "source": "drawn"}},
    "seeds": 1,
}


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with some changed, removed, put in or doubled, or cut off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(1, 40))
        kind = draw(st.sampled_from(("flip", "overwrite", "remove", "insert", "double", "cut", "zero")))
        if kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "overwrite":
            data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
        elif kind == "remove":
            del data[at : at + length]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=40))
        elif kind == "double":
            data[at:at] = data[at : at + length]
        elif kind == "cut":
            del data[at:]
        else:
            data[at : at + length] = bytes(len(data[at : at + length]))
    return bytes(data)


def is_clear(error: RequestError | RunError, words: str) -> None:
    """One line that names what is wrong."""
    assert words in str(error)
    assert "\n" not in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(asdict(RECORDS[0]))), JSON, max_size=4))
def test_a_record_of_other_values_is_read_right_or_refused(changes: dict[str, object]) -> None:
    wanted = {**json.loads(RECORDS[0].to_json()), **changes}
    try:
        record = Record.from_json(json.dumps(wanted))
    except ValueError:
        return
    if wanted.get("flags") == []:  # a row without flags has no such field
        del wanted["flags"]
    assert json.loads(record.to_json()) == wanted


@given(damaged("".join(record.to_json() + "\n" for record in RECORDS).encode()))
def test_damaged_records_are_read_right_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = new_run(Path(folder), "a", header_of(HEADER))
        (run.folder / "records.jsonl").write_bytes(data)
        try:
            records = run.records()
        except RunError as error:
            is_clear(error, "records.jsonl line")
            return
        for record in records:
            assert Record.from_json(record.to_json()) == record
        write_csv(to_table(read_results(run)))


@given(damaged(json.dumps(HEADER, indent=2).encode()))
def test_a_damaged_header_is_read_right_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = new_run(Path(folder), "a", header_of(HEADER))
        with run.writer() as writer:
            writer.append(RECORDS)
        (run.folder / "run.json").write_bytes(data)
        try:
            again = Run.open(Path(folder), "a")
        except RunError as error:
            is_clear(error, "run.json")
            return
        assert again.records() == run.records()
        write_csv(to_table(read_results(again)))


@given(st.text(max_size=12) | st.from_regex(r"-?[0-9.eE+_]{1,400}(ep|kimg|s|pflop)?", fullmatch=True))
def test_a_budget_is_read_right_or_refused(word: str) -> None:
    try:
        budget = Budget.parse(word)
    except RequestError as error:
        is_clear(error, "such as 10ep")
        return
    assert budget.amount > 0
    assert np.isfinite(budget.amount)
    assert float(word.removesuffix(budget.kind)) == budget.amount


TINY = replace(official.CIFAR10, shape=(3, 8, 8))


def _parquet() -> tuple[bytes, fakes.Pixels]:
    images = fakes.random_images(10, TINY.shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.parquet"
        fakes.write_parquet(path, images, fakes.interleaved(10))
        table = pq.read_table(path)
        pq.write_table(table, path, write_page_checksum=True)
        return path.read_bytes(), images


FILE, IMAGES = _parquet()


@given(damaged(FILE))
def test_a_damaged_parquet_file_is_read_right_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for split, content in (("train", data), ("test", FILE)):
            (Path(folder) / f"{split}-00000-of-00001.parquet").write_bytes(content)
        try:
            source = parquet.find(Path(folder), TINY)
            assert source is not None
            decoded = source.decode()
        except RequestError as error:
            is_clear(error, "train-00000-of-00001.parquet")
            return
        np.testing.assert_array_equal(decoded.train.images, IMAGES)
        np.testing.assert_array_equal(decoded.train.labels, fakes.interleaved(10))


@pytest.mark.parametrize("nesting", [10, 100_000])
def test_deep_nesting_is_refused(tmp_path: Path, nesting: int) -> None:
    run = new_run(tmp_path, "a", RunHeader())
    (run.folder / "records.jsonl").write_text("[" * nesting + "]" * nesting + "\n")
    with pytest.raises(RunError, match="line 1 is damaged"):
        run.records()
