"""A network's structure: the overview, then a panel for each kind of block, in the order in which they are met."""

from __future__ import annotations

from dataclasses import replace

from bench.models import ModelSpec
from bench.probes.counting.networks import build_on_meta
from bench.structure.blocks import Blocks
from bench.structure.boxes import block_label, boxes_of, output_shape
from bench.structure.description import Panel, Structure
from bench.structure.flow import Scope, trace


def structure(spec: ModelSpec) -> Structure:
    """The network of a spec as panels, found by one inference on the meta device.

    Raises:
        Unsupported: the network cannot be built or run without data.
    """
    network = build_on_meta(spec)
    blocks = Blocks(trace(network, spec.input_size))
    return Structure(
        name=spec.name,
        family=spec.family,
        year=spec.year,
        paper=spec.paper,
        input_size=spec.input_size,
        params=sum(p.numel() for p in network.parameters() if p.requires_grad),
        macs=sum(operation.macs for operation in blocks.flow.operations),
        panels=_panels(blocks),
        unused=blocks.flow.unused,
    )


def _panels(blocks: Blocks) -> tuple[Panel, ...]:
    """Breadth first: what the overview shows comes before what only other blocks contain."""
    calls: dict[int, list[Scope]] = {}
    for operation in blocks.flow.operations:
        for scope in operation.scope.ancestors:
            if scope in blocks.inside:
                found = calls.setdefault(blocks.sort_of[scope], [])
                if scope not in found:
                    found.append(scope)
    place = {blocks.sort_of[blocks.network]: 0}
    waiting = [blocks.network]
    panels = []
    for scope in waiting:
        nodes, inner, edges = boxes_of(blocks.inside[scope], blocks, _input_shape(scope, blocks))
        for n, block in enumerate(inner):
            if block is None:
                continue
            sort = blocks.sort_of[block]
            if sort not in place:
                place[sort] = len(waiting)
                # Dropout may be missing in some: the fullest of a kind is drawn.
                waiting.append(max(calls[sort], key=lambda call: sum(1 for _ in blocks.operations_in(call))))
            nodes[n] = replace(nodes[n], panel=place[sort])
        count = len(calls[blocks.sort_of[scope]])
        title = block_label(scope.title, nodes[0].output_shape, nodes[-1].output_shape)
        panels.append(Panel(title, scope.path, count, tuple(nodes), tuple(edges)))
    return tuple(panels)


def _input_shape(scope: Scope, blocks: Blocks) -> tuple[int, ...]:
    if scope is blocks.network or not scope.entered:
        return blocks.flow.operations[0].output_shape
    return output_shape(blocks.flow.operations[scope.entered[0]], blocks)
