"""Published accuracies: of our networks only, each with its source, in columns of their own."""

import csv
from pathlib import Path

import pytest
from torchvision import models as torchvision_models

from bench.models import REGISTRY, select
from bench.render.results import derived, read_results, to_table
from bench.render.results.derived import PUBLISHED_FILE, published_of, published_top1
from bench.render.results.header import Model
from tests.render.conftest import RunBuilder, ok

ROWS = list(csv.DictReader(PUBLISHED_FILE.read_text(encoding="utf-8").splitlines()))


def described(name: str, **facts: object) -> Model:
    spec = REGISTRY[name.removeprefix("torchvision:")]
    size, classes = spec.input_size, spec.num_classes
    changes: dict[str, object] = {"input_size": size, "num_classes": classes, "own": ":" in name, **facts}
    return Model(name, spec.family, spec.year, spec.paper, spec.track, differences=(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["model"])
def test_a_published_network_is_ours_and_says_where_it_is_from(row: dict[str, str]) -> None:
    spec = REGISTRY[row["model"]]
    assert row["dataset"] == {"imagenet": "ImageNet", "cifar": "CIFAR-10"}[spec.track]
    assert 0.5 < float(row["top1"]) < 1
    assert row["source"]
    assert row["statistic"]
    if row["params_millions"]:
        digits = len(row["params_millions"].partition(".")[2])
        half_a_digit = 0.5 * 10**-digits * 1e6
        assert spec.params == pytest.approx(float(row["params_millions"]) * 1e6, rel=0.01, abs=half_a_digit)


def test_most_networks_of_the_cifar_track_have_one() -> None:
    cifar = [name for name, spec in REGISTRY.items() if spec.track == "cifar"]
    assert len([name for name in cifar if name in published_top1()]) == 28
    assert published_top1()["resnet20_cifar"].top1 == 0.9125  # He et al. 2015, Table 6: 8.75 % error
    assert "Table 6" in published_top1()["resnet20_cifar"].source


def test_the_table_has_the_value_and_its_source_and_never_as_top1(build: RunBuilder) -> None:
    spec = REGISTRY["resnet20_cifar"]
    model = {"name": spec.name, "family": spec.family, "year": 2015, "track": "cifar", "num_classes": 10}
    other = {"name": "own_cifar", "family": "own", "track": "cifar", "num_classes": 10}
    table = to_table(read_results(build([model, other], [ok("own_cifar", "params", 10)]))).set_index("model")
    assert table.loc["resnet20_cifar", "published_top1"] == 0.9125
    assert "He et al. 2015, Table 6" in str(table.loc["resnet20_cifar", "published_source"])
    assert table["top1"].isna().all()
    assert table.loc["own_cifar"].isna()["published_top1"]
    assert table.loc["resnet20_cifar", "status"] == "not run"  # what others measured is no row of this run


def test_another_image_size_or_number_of_classes_is_another_network() -> None:
    assert published_of(described("torchvision:resnet18")) == published_of(described("resnet18"))
    assert published_of(described("torchvision:resnet18", num_classes=10)) is None
    assert published_of(described("torchvision:resnet18", input_size=(3, 96, 96))) is None


def test_torchvision_says_it_of_its_own_networks() -> None:
    (spec,) = select(["torchvision:mobilenet_v3_small"])
    metrics = torchvision_models.MobileNet_V3_Small_Weights.IMAGENET1K_V1.meta["_metrics"]
    assert spec.published_top1 == pytest.approx(metrics["ImageNet-1K"]["acc@1"] / 100)
    assert spec.published_top1 == pytest.approx(0.67668)
    assert select(["torchvision:mobilenet_v3_small"], num_classes=10)[0].published_top1 is None
    assert select(["torchvision:mobilenet_v3_small"], input_size=(3, 96, 96))[0].published_top1 is None


def test_own_images_have_neither_published_accuracies_nor_a_reference(
    build: RunBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are of other pictures: beside these they would be read as the same."""
    file = tmp_path / "reference.csv"
    columns = "model,dataset,budget,seed,top1,tested,batch_size,precision,recipe,hardware,torch,torchvision,commit,run"
    file.write_text(f"{columns}\nresnet20_cifar,cifar10,1ep,0,0.6,10000,32,fp32,a recipe,CPU,2.15,,c0ffee,made\n")
    monkeypatch.setattr(derived, "REFERENCE_FILE", file)
    models = [{"name": name, "track": track} for name, track in (("resnet20_cifar", "cifar"), ("resnet18", "imagenet"))]
    rows = [ok("resnet20_cifar", "params", 10), ok("resnet18", "params", 10)]
    for images, has in (("folder-birds", False), ("cifar10-jpeg", True), ("synthetic", True)):
        sets = {"cifar": {"name": images, "source": "there"}}
        results = read_results(build(models, rows, images, image_sets=sets))
        for metric in ("published_top1", "reference_top1"):
            assert results.cell("resnet20_cifar", metric).measured is has
        assert results.cell("resnet18", "published_top1").measured
