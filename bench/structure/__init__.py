"""What a network looks like: its operations, blocks, branches and skips, found by running it once without data.

    ModelSpec → flow.trace → operations and what they read → panels.structure → Structure → render.diagram.draw → SVG

The result is panels of boxes and arrows, the overview first, then each distinct kind of block once. It needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

Kind = Literal[
    "input",
    "output",
    "convolution",
    "linear",
    "attention",
    "pooling",
    "light",  # norms, activations, dropout, scaling: what keeps the shape and costs little
    "reshape",
    "join",  # reads several results: an addition, a concatenation
    "block",  # drawn in a panel of its own
    "other",
]


@dataclass(frozen=True)
class Node:
    """One box: one or a few operations in a row, or a block, or `repeat` of them that follow one another."""

    kind: Kind  # of its main operation
    label: tuple[str, ...]  # one phrase per operation: ("conv 3×3, 64", "BN", "ReLU")
    output_shape: tuple[int, ...]  # of one image, after the last repeat
    params: int  # trainable, of all repeats; a shared tensor counts where it is first used
    macs: int  # of all repeats
    repeat: int = 1
    shared: bool = False  # its weights were all used before
    panel: int | None = None  # the panel that shows the inside of a block
    group: str = ""  # module within the panel's module that the box belongs to, such as "stages.0"


@dataclass(frozen=True)
class Edge:
    """Data that goes from one box of a panel to another, by their positions in `nodes`."""

    source: int
    target: int
    kind: Literal["flow", "skip"]  # a skip goes around boxes that also lead from source to target


@dataclass(frozen=True)
class Panel:
    """The inside of one module; `nodes` are in the order of the data, its input first and its output last."""

    title: tuple[str, ...]  # the module's class, and what it does to the width: ("BasicBlock", "64→128, /2")
    path: str  # the module of that kind whose numbers are shown; "" for the network
    count: int  # how many of that kind the network runs, itself included
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]  # those into one node in the order in which it reads them


@dataclass(frozen=True)
class Structure:
    """A network's name and panels; `panels[0]` is the overview."""

    name: str
    family: str
    year: int | None  # None for a user's own network
    paper: str
    input_size: tuple[int, int, int]
    params: int  # trainable, shared tensors once
    macs: int  # for one image in evaluation mode
    panels: tuple[Panel, ...]
    unused: tuple[tuple[str, int], ...] = ()  # (module, params) that inference does not touch

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Structure:
        """The structure that `to_json` wrote, also after a way through JSON text.

        Raises:
            ValueError: `data` is not such a description.
        """
        try:
            structure = msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"not a network's structure: {error}") from error
        structure._check()
        return structure

    def _check(self) -> None:
        if not self.panels:
            raise ValueError("not a network's structure: no panels")
        for panel in self.panels:
            for node in panel.nodes:
                if node.panel is not None and not 0 < node.panel < len(self.panels):
                    raise ValueError(f"not a network's structure: no panel {node.panel!r}")
            if any(not 0 <= edge.source < edge.target < len(panel.nodes) for edge in panel.edges):
                raise ValueError("not a network's structure: an arrow against the order of the boxes")
