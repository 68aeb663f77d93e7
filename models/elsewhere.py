"""Networks that are not in the registry: torchvision's, timm's, and your own, as a spec like any other.

`torchvision:NAME`, `timm:NAME` or `timm:NAME.TAG`, `package.module:factory` or `./file.py:factory`. The factory is a
class or function that returns a network of fresh weights, with the number of classes as `num_classes` if it can be
chosen; or it is a `ModelSpec` itself. `NAME(key=value,...)` passes the factory arguments: another network than without.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.machinery import SourceFileLoader
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from .spec import Build, InputSize, ModelSpec, Track, UnknownModel


def from_elsewhere(word: str, input_size: InputSize | None = None, num_classes: int | None = None) -> ModelSpec:
    """The spec of a network named `source:name`; what is not given comes from the source where it says.

    Raises:
        UnknownModel: there is no such network, it takes no such arguments, or nothing says what images it takes.
    """
    bare, arguments = _parted(word)
    written = ",".join(f"{key}={arguments[key]!r}" for key in sorted(arguments))
    called = f"{bare}({written})" if arguments else bare
    source, _, name = bare.partition(":")
    if source == "torchvision":
        build, own_size, own_classes = _torchvision(name, input_size, arguments)
    elif source in ("timm", "hf-hub"):
        build, own_size, own_classes = _timm(bare.removeprefix("timm:"), input_size, arguments)
    else:
        own = _Own(os.getcwd(), *bare.rpartition(":")[::2], arguments)
        factory = own.checked(word)
        if isinstance(factory, ModelSpec):
            return replace(factory, build=own)
        if input_size is None:
            raise UnknownModel(f"{word} does not say what images it takes: add --input-size, such as 32 or 3x96x96")
        spec = own_spec(called, factory, own, input_size, num_classes)
        return replace(spec, family=own.file.stem.partition(".")[0] if own.file else source.partition(".")[0])
    spec = _spec(called, source, build, input_size or own_size, num_classes or own_classes)
    as_published = source == "torchvision" and spec.input_size == own_size and num_classes in (None, 1000)
    return replace(spec, **_published(name)) if as_published and not arguments else spec


def from_factory(factory: Any, name: str, input_size: InputSize, num_classes: int | None = None) -> ModelSpec:
    """The spec of the network that a class or function returns; `num_classes` is passed on if the factory takes it.

    Raises:
        UnknownModel: it is no factory, or it takes other arguments than `num_classes`.
    """
    _check_factory(factory, {}, name, "pass a function without other arguments, such as functools.partial")
    return own_spec(name, factory, _FromFactory(factory), input_size, num_classes)


def own_spec(name: str, written: Any, build: Build, input_size: InputSize, num_classes: int | None = None) -> ModelSpec:
    """The spec of a network that somebody brought: `written` is its factory or the object, whose module is its family.

    The number of classes is guessed where neither the user nor an argument of the factory says it.
    """
    module = getattr(written, "__module__", None) or "__main__"
    source = "own" if module.partition(".")[0] in ("__main__", "torch") else module
    parameters = {} if isinstance(written, nn.Module) else _parameters(written)
    spec = _spec(name, source, build, input_size, num_classes or parameters.get("num_classes"))
    guessed = num_classes is None and "num_classes" not in parameters
    return replace(spec, guessed_classes=guessed, asked_classes=num_classes is not None)


def _spec(name: str, source: str, build: Build, size: InputSize, classes: int | None) -> ModelSpec:
    """A spec without a paper, of the family of its package."""
    track = _track(size)
    chosen = classes or (1000 if track == "imagenet" else 10)
    return ModelSpec(name, source.partition(".")[0], None, "", track, size, chosen, build)


def _published(name: str) -> dict[str, Any]:
    """torchvision's own figure, if any: accuracy on ImageNet's validation images with its first weights."""
    import torchvision

    weights = torchvision.models.get_model_weights(name)
    if not (first := getattr(weights, "IMAGENET1K_V1", None)):
        return {}
    release = ".".join(torchvision.__version__.split(".")[:2])
    source = f"torchvision {release}, weights IMAGENET1K_V1"
    return {"published_top1": first.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, "published_source": source}


def _parted(word: str) -> tuple[str, dict[str, Any]]:
    """ "timm:resnet18(drop_path_rate=0.1)" as the name and its arguments."""
    match = re.fullmatch(r"(.*:[^()]*)\((.*)\)", word)
    if match is None:
        return word, {}
    try:
        call: Any = ast.parse(f"dict({match[2]})", mode="eval").body
        given = [(keyword.arg or "", keyword.value) for keyword in call.keywords]
        arguments = {key: value.id if isinstance(value, ast.Name) else ast.literal_eval(value) for key, value in given}
        bare = {value.id for _, value in given if isinstance(value, ast.Name)}
        if call.args or "" in arguments or bare & {"true", "false", "null"}:  # as texts they would all be true
            raise ValueError
        if len(arguments) < len(given):
            raise UnknownModel(f"{word}: an argument is given twice")
    except (AttributeError, SyntaxError, ValueError):
        raise UnknownModel(
            f"{word}: write arguments as key=value; values are numbers, True, False, None, or texts in quotes"
        ) from None
    for name in {"num_classes", "pretrained", "weights", "checkpoint_path"} & arguments.keys():
        raise UnknownModel(f"{word}: {name} is settled: weights are fresh, and --num-classes says how many classes")
    return match[1], arguments


def _track(size: InputSize) -> Track:
    """Which networks it is compared with: those that take images of its size."""
    if size == (3, 32, 32):
        return "cifar"
    return "mnist" if size in ((1, 28, 28), (1, 32, 32)) else "imagenet"


Source = tuple[Build, InputSize, int]  # builder, size of its images, number of classes


def _torchvision(name: str, size: InputSize | None, arguments: Mapping[str, Any]) -> Source:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise UnknownModel(f"torchvision has no classification network {name!r}{nearest(name, known)}")
    if size and size[0] != 3:
        raise UnknownModel(f"torchvision:{name} takes colour images: write --input-size 3x{size[1]}x{size[2]}")
    weights: Any = models.get_model_weights(name)
    side = next(iter(weights)).transforms().crop_size[0] if len(weights) else 224
    if isinstance(told := arguments.get("image_size"), int):
        side = told
    height, width = size[1:] if size else (side, side)
    if (height, width) != (224, 224) and name.startswith(("vit_", "maxvit_")):  # these must be told another size
        if height != width:
            raise UnknownModel(f"torchvision:{name} takes square images: write --input-size {height}")
        tell = {"image_size": height} if name.startswith("vit_") else {"input_size": (height, width)}
        arguments = {**tell, **arguments}
    build = partial(models.get_model, name, weights=None, **arguments)
    return _tried(f"torchvision:{name}", build, arguments), (3, side, side), 1000


def _timm(name: str, size: InputSize | None, arguments: Mapping[str, Any]) -> Source:
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise UnknownModel(f"timm:{name} needs timm, which is not installed: pip install timm") from None
    if name.startswith("hf-hub:"):
        try:
            facts, name, own = importlib.import_module("timm.models").load_model_config_from_hf(name[7:])
        except Exception as error:  # no network, no such repository, a package that is missing
            raise UnknownModel(
                f"{name}: the hub cannot be asked what network this is ({type(error).__name__}); without it, name its "
                "architecture: timm:NAME"
            ) from None
        arguments = {**(own or {}), **arguments}
    else:
        architecture, _, tag = name.partition(".")
        known = timm.list_models()
        if architecture not in known:
            raise UnknownModel(f"timm has no network {architecture!r}{nearest(architecture, known)}")
        tagged = timm.list_models(f"{architecture}.*", pretrained=True)
        if tag and name not in tagged:
            raise UnknownModel(f"timm has no {name!r}; with a tag it has {', '.join(tagged) or 'none'}")
        cfg = timm.get_pretrained_cfg(name)
        facts = vars(cfg) if cfg else {}
    channels, *sides = facts.get("input_size") or (3, 224, 224)
    own_size = (arguments.get("in_chans", channels), *sides)
    if told := arguments.get("img_size"):
        own_size = (own_size[0], *(told if isinstance(told, list | tuple) else (told, told)))
    if size and size[0] != own_size[0]:
        arguments = {"in_chans": size[0], **arguments}
    tell = size and facts.get("fixed_input_size") and size[1:] != own_size[1:] and not told
    build = partial(_build_timm, name, arguments, size[1:] if size and tell else None)
    return _tried(f"timm:{name}", build, arguments), own_size, facts.get("num_classes") or 1000


def _tried(word: str, build: Build, arguments: Mapping[str, Any]) -> Build:
    """The builder, once it has taken its arguments, if there are any."""
    try:
        with torch.device("meta"), suppress(NotImplementedError, RuntimeError, ValueError):
            if arguments:
                build(num_classes=10)
    except Exception as error:
        raise UnknownModel(f"{word}: {type(error).__name__}: {error}") from None
    return build


# Builders are functions of modules and plain data, so that a spec can be sent to a worker process.


def _build_timm(name: str, arguments: Mapping[str, Any], size: tuple[int, int] | None, num_classes: int) -> nn.Module:
    """`size` is that of the images, for a network that must be told; some that must be have another way."""
    build = partial(importlib.import_module("timm").create_model, name, num_classes=num_classes, **arguments)
    try:
        network: nn.Module = build(img_size=size) if size else build()
    except TypeError as error:
        if size is None or "img_size" not in str(error):
            raise
        network = build()
    return network


@dataclass(frozen=True, eq=False)  # hashed as an object: an argument may be a list
class _Own:
    """A factory of a user's own project, found again by every process that builds the network."""

    folder: str  # that the user was in
    source: str  # a module, or a file
    name: str
    arguments: Mapping[str, Any]

    def __call__(self, num_classes: int) -> nn.Module:
        """Raises TypeError if the factory returns something other than a network."""
        with _importable_from(self.folder):
            factory = self.described
            if isinstance(factory, ModelSpec):
                return factory.build(num_classes=num_classes)
            return _built(factory, num_classes, self.arguments, f"{self.source}:{self.name}")

    @property
    def file(self) -> Path | None:
        is_file = self.source.endswith(".py") or "/" in self.source or os.sep in self.source
        path = Path(self.folder, Path(self.source).expanduser()).resolve()
        return (path / "__init__.py" if path.is_dir() else path) if is_file else None

    @property
    def described(self) -> Any:
        """The factory itself."""
        if self.file is None:
            with _importable_from(self.folder):
                return attrgetter(self.name)(importlib.import_module(self.source))
        with _importable_from(self.folder), _importable_from(str(self.file.parent)):
            return attrgetter(self.name)(_imported(self.file))

    def checked(self, word: str) -> Any:
        """The factory, if it is found and is one."""
        try:
            factory = self.described
        except (Exception, SystemExit) as error:  # whatever a user's module does while it is imported
            reason = (str(error).splitlines() or [""])[0]
            write = "write package.module:factory, importable from here, or ./file.py:factory"
            write = in_a_package_called_bench(self.source, self.name) or write
            raise UnknownModel(f"{word}: {type(error).__name__}: {reason}; {write}") from error
        if not isinstance(factory, ModelSpec):
            _check_factory(factory, self.arguments, word, "--model-kwargs key=value gives arguments")
        return factory


def _imported(file: Path) -> Any:
    """The module of a file, in the package of which the file is a part, so that its relative imports are found.

    All packages are in one that stands for the folder around them: their names may be those of other modules.
    """
    file.stat()  # a package that is no file would be found all the same, and empty
    root = file.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    around = re.sub(r"\W", "_", str(root))
    if around not in sys.modules:
        sys.modules[around] = ModuleType(around)
        sys.modules[around].__path__ = [str(root)]
    *packages, stem = file.relative_to(root).with_suffix("").parts
    package = ".".join((around, *packages))
    with _importable_from(str(root)):
        importlib.import_module(package)
        name = package if stem == "__init__" else ".".join((package, re.sub(r"\W", "_", stem)))
        if name not in sys.modules:
            loader = SourceFileLoader(name, str(file))  # whatever its name ends in
            spec: Any = importlib.util.spec_from_file_location(name, file, loader=loader)
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise
        return sys.modules[name]


@dataclass(frozen=True, eq=False)
class _FromFactory:
    """A factory that was handed over; it need not be one that another process finds."""

    described: Any

    def __call__(self, num_classes: int) -> nn.Module:
        """Raises TypeError if the factory returns something other than a network."""
        return _built(self.described, num_classes, {}, getattr(self.described, "__name__", "the factory"))


def _built(factory: Any, num_classes: int, arguments: Mapping[str, Any], word: str) -> nn.Module:
    parameters = inspect.signature(factory).parameters
    if "num_classes" in parameters:
        network = factory(num_classes=num_classes, **arguments)
    elif any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        try:  # it may pass the number on
            network = factory(num_classes=num_classes, **arguments)
        except TypeError:
            network = factory(**arguments)
    else:
        network = factory(**arguments)
    if not isinstance(network, nn.Module):
        raise TypeError(f"{word} returned {type(network).__name__}, not a torch.nn.Module")
    if isinstance(network, torch.fx.GraphModule):  # a program of torch.export refuses to be told its mode
        for name in ("train", "eval"):
            vars(network).pop(name, None)
    return network


def _check_factory(factory: Any, arguments: Mapping[str, Any], word: str, hint: str) -> None:
    """Refuse what is no factory, or takes other arguments."""
    if isinstance(factory, nn.Module) or not callable(factory):
        kind = "a network that is built already" if isinstance(factory, nn.Module) else type(factory).__name__
        raise UnknownModel(
            f"{word} is {kind}: name a class, or a function that builds the network, so that every measurement "
            "begins with fresh weights"
        )
    try:
        chosen = {"num_classes": 10} if "num_classes" in _parameters(factory) else {}
        inspect.signature(factory).bind(**chosen, **arguments)
    except (TypeError, ValueError) as error:
        raise UnknownModel(f"{word}: {error}; {hint}") from None


def _parameters(factory: Any) -> dict[str, int | None]:
    """The names of a factory's parameters, with their defaults where these are whole numbers."""
    parameters = inspect.signature(factory).parameters
    return {name: p.default if isinstance(p.default, int) else None for name, p in parameters.items()}


@contextmanager
def _importable_from(folder: str) -> Iterator[None]:
    """A user's folder first on the module path, and without any clone of this suite: its `models` is not theirs.

    Afterwards it is the last one, for what is imported when the network is built or run.
    What is imported or built meanwhile leaves PyTorch's types and gradients as they are, and finds no words of the
    command line that are not meant for it.
    """
    before, dtype, gradients = list(sys.path), torch.get_default_dtype(), torch.is_grad_enabled()
    words, sys.argv = sys.argv, sys.argv[:1]
    sys.path[:] = [folder, *(entry for entry in before if not Path(entry, "models", Path(__file__).name).is_file())]
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        sys.argv = words
        sys.path[:] = [*before, *(entry for entry in dict.fromkeys(sys.path) if entry not in before)]


def in_a_package_called_bench(module: str, factory: str) -> str:
    """What to write for a network of a user's own package of that name, which is this suite's; empty for any other."""
    file = f"./{module.replace('.', '/')}.py:{factory}"
    is_ours = module.split(".")[0] == "bench"
    return f"bench is the suite's own package: of yours, write {file}" if is_ours else ""


def of_a_project(name: str) -> str:
    """What to write where somebody named a file or a package of their own without a colon; empty for any other word."""
    if name.endswith(".py"):
        return f": write {name}:factory"
    package, module, factory = name.partition(".")[0], *name.rpartition(".")[::2]
    found = None
    with _importable_from(os.getcwd()), suppress(ValueError):  # of a module that nothing has found, such as __main__
        found = package.isidentifier() and importlib.util.find_spec(package)
    return f": write {module or name}:{factory if module else 'factory'}" if found else ""


def nearest(name: str, known: Collection[str]) -> str:
    """Such as "; nearest: resnet18, resnet34"; empty where nothing is near."""
    begun = [other for other in known if other.startswith(name)]  # lenet5: lenet5_mnist, lenet5_cifar
    near = list(dict.fromkeys([*begun, *difflib.get_close_matches(name, known, n=3, cutoff=0.4)]))[:3]
    return f"; nearest: {', '.join(near)}" if near else ""
