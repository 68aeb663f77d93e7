"""A network's structure: the overview, then a panel for each kind of block, in the order in which they are met.

A module is a block where one of its own operations reads several results (`+`, concat) that branched within it. All
other modules are taken apart into their operations. Inside a panel, operations in a row that belong together are one
box, and equal boxes in a row are one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from bench.models import ModelSpec
from bench.probes.counting.networks import build_on_meta
from bench.structure import Edge, Kind, Node, Panel, Structure
from bench.structure.flow import Flow, Operation, Scope, trace

_MINOR: frozenset[Kind] = frozenset(("light", "reshape"))  # what joins the box of a neighbour
_WEIGHTED: frozenset[Kind] = frozenset(("convolution", "linear"))  # what norm and activation in front belong to
Shape = tuple[int, ...]
Item = Operation | Scope  # an operation, or one call of a block


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
                found = calls.setdefault(blocks.signature_of[scope], [])
                if scope not in found:
                    found.append(scope)
    number = {blocks.signature_of[blocks.network]: 0}
    waiting = [blocks.network]
    panels = []
    for scope in waiting:
        nodes, inner, edges = _boxes_of(blocks.inside[scope], blocks, _input_shape(scope, blocks))
        for n, block in enumerate(inner):
            if block is None:
                continue
            signature = blocks.signature_of[block]
            if signature not in number:
                number[signature] = len(waiting)
                # Dropout may be missing in some: the fullest of a kind is drawn.
                waiting.append(max(calls[signature], key=lambda call: sum(1 for _ in blocks.operations_in(call))))
            nodes[n] = replace(nodes[n], panel=number[signature])
        count = len(calls[blocks.signature_of[scope]])
        title = _block_label(scope.title, nodes[0].output_shape, nodes[-1].output_shape)
        panels.append(Panel(title, scope.path, count, tuple(nodes), tuple(edges)))
    return tuple(panels)


def _input_shape(scope: Scope, blocks: Blocks) -> tuple[int, ...]:
    if scope is blocks.network or not scope.entered:
        return blocks.flow.operations[0].output_shape
    return _output_shape(blocks.flow.operations[scope.entered[0]], blocks)


@dataclass
class _Box:
    """One or more operations, or one block, and the node that is drawn for them; folded: several of these in a row."""

    node: Node
    items: list[Item]
    size: Hashable  # equal boxes have equal sizes
    input_shape: Shape
    block: Scope | None = None
    sources: list[int] = field(default_factory=list)  # positions of other boxes, from 1; 0 is the input


def _boxes_of(inside: Inside, blocks: Blocks, input_shape: Shape) -> tuple[list[Node], list[Scope | None], list[Edge]]:
    """The nodes of a panel, the block that each stands for (the first of several), and the edges between."""
    boxes = [_box(items, group, inside, blocks, input_shape) for items, group in _units(inside)]
    position: dict[Item | None, int] = {item: n for n, box in enumerate(boxes, start=1) for item in box.items}
    position[None] = 0
    for box in boxes:  # within a box only its first item reads from outside
        box.sources = list(dict.fromkeys(position[source] for source in inside.items[box.items[0]]))
    boxes = _folded(boxes, blocks)
    outputs = _output_positions(boxes, inside)
    shape = boxes[outputs[-1] - 1].node.output_shape if outputs and outputs[-1] else input_shape
    ends = Node("input", ("input",), input_shape, 0, 0), Node("output", ("output",), shape, 0, 0)
    for box in boxes:
        if box.block is not None:  # a block says what it does to the width, of all its repeats
            label = _block_label(box.block.title, box.input_shape, box.node.output_shape)
            box.node = replace(box.node, label=label)
    nodes = [ends[0], *(box.node for box in boxes), ends[1]]
    reads = [[], *(box.sources for box in boxes), outputs]
    return nodes, [None, *(box.block for box in boxes), None], _edges(reads)


def _units(inside: Inside) -> list[tuple[list[Item], str]]:
    """Items that share a box, with the group that they belong to."""
    groups = _groups(inside)
    readers: dict[Item | None, list[Item]] = defaultdict(list)
    for item, sources in inside.items.items():
        for source in sources:
            readers[source].append(item)

    def continues(first: Item, second: Item) -> bool:
        """`second` reads `first` and nothing else, and nothing else reads `first`; both are plain operations."""
        if not isinstance(first, Operation) or not isinstance(second, Operation) or second.phrase.kind == "join":
            return False
        alone = first not in inside.outputs and readers[first] == [second] and list(inside.items[second]) == [first]
        plain = first.phrase.kind != "join" or _is_mean_of_stack(first, second)
        return alone and plain and groups[first] == groups[second]

    chains: list[list[Item]] = []
    for item in inside.items:
        if chains and continues(chains[-1][-1], item):
            chains[-1].append(item)
        else:
            chains.append([item])
    return [(unit, groups[unit[0]]) for chain in chains for unit in _split(chain)]


def _is_mean_of_stack(first: Operation, second: Operation) -> bool:
    """Whether two operations are `torch.stack(results).mean(0)`: the mean of the results."""
    texts = first.phrase.text, second.phrase.text
    return texts == ("stack", "mean") and first.output_shape[1:] == second.output_shape


def _split(chain: Sequence[Item]) -> list[list[Item]]:
    """Split a chain into boxes.

    conv, BN, ReLU, conv → [conv, BN, ReLU], [conv]; but BN, ReLU, conv, BN, ReLU, conv → [BN, ReLU, conv] twice.
    """
    kinds = [_kind(item) for item in chain]
    if kinds[0] == "join":
        rest = list(chain[2:])
        return [list(chain[:2]), *(_split(rest) if rest else [])]
    stays = [kind == "reshape" or _is_dropout(item) for kind, item in zip(kinds, chain, strict=True)]
    norm_first = next((kind for kind, stay in zip(kinds, stays, strict=True) if not stay), "light") == "light"
    units: list[list[Item]] = [[]]
    has_main = False
    for item, kind, stay in zip(chain, kinds, stays, strict=True):
        if kind not in _MINOR:
            begins_with_norm = any(_kind(other) == "light" and not _is_dropout(other) for other in units[-1])
            if has_main or (begins_with_norm and kind not in _WEIGHTED):
                units.append([])
            has_main = True
        elif norm_first and has_main and not stay:
            units.append([])
            has_main = False
        units[-1].append(item)
    return units


def _kind(item: Item) -> Kind:
    return item.phrase.kind if isinstance(item, Operation) else "block"


def _is_dropout(item: Item) -> bool:
    return isinstance(item, Operation) and item.phrase.signature == "dropout"


def _groups(inside: Inside) -> dict[Item, str]:
    """The module that an item belongs to: a direct part of the block, or a stage of it one level further in."""
    chains = {item: _between(item, inside.scope) for item in inside.items}
    members: dict[Scope, list[Item]] = defaultdict(list)
    for item, chain in chains.items():
        for scope in chain[:2]:
            members[scope].append(item)
    named: dict[Item, str] = {}
    for item, chain in chains.items():
        if not chain or len(members[chain[0]]) < 2:
            named[item] = ""
            continue
        stages = {chains[other][1:2] for other in members[chain[0]]}
        staged = (
            () not in stages
            and len(stages) > 1
            and any(sum(_kind(other) not in _MINOR for other in members[stage[0]]) > 1 for stage in stages)
        )
        scope = chain[1] if staged else chain[0]
        path = scope.path.removeprefix(f"{inside.scope.path}.") if inside.scope.path else scope.path
        named[item] = path if scope.occurrence == 0 else f"{path} (call {scope.occurrence + 1})"
    return named


def _between(item: Item, panel: Scope) -> tuple[Scope, ...]:
    """The modules between a panel's and the item, from outside inwards."""
    start = item.scope if isinstance(item, Operation) else item.parent
    found: list[Scope] = []
    for scope in start.ancestors if start else ():
        if scope is panel:
            break
        found.append(scope)
    return tuple(reversed(found))


def _box(items: list[Item], group: str, inside: Inside, blocks: Blocks, input_shape: Shape) -> _Box:
    first = items[0]
    source = next(iter(inside.items[first]), None)
    before = input_shape if source is None else _output_shape(source, blocks)
    if isinstance(first, Scope):
        operations = list(blocks.operations_in(first))
        kind: Kind = "block"
        label: tuple[str, ...] = (first.title,)
        size = blocks.exact_signature_of[first]
    else:
        operations = [item for item in items if isinstance(item, Operation)]
        kinds = [op.phrase.kind for op in operations]
        kind = next((k for k in kinds if k not in _MINOR), "light" if "light" in kinds else kinds[0])
        label = _label(operations)
        size = tuple(op.exact_signature for op in operations)
    params = sum(op.params for op in operations)
    node = Node(
        kind=kind,
        label=label,
        output_shape=_output_shape(items[-1], blocks),
        params=params,
        macs=sum(op.macs for op in operations),
        shared=params == 0 and any(op.shared for op in operations),
        group=group,
    )
    return _Box(node, items, size, before, block=first if isinstance(first, Scope) else None)


def _output_shape(item: Item, blocks: Blocks) -> Shape:
    """The shape of an operation's result, or of the last result that a block hands on."""
    while isinstance(item, Scope):
        inside = blocks.inside[item]
        item = next(one for one in reversed(inside.items) if one in inside.outputs or not inside.outputs)
    return item.output_shape


def _label(operations: Sequence[Operation]) -> tuple[str, ...]:
    """One phrase per operation; three or more reshapes in a row say "reshape"."""
    if operations[0].phrase.text == "stack" and len(operations) > 1:
        return ("mean",)
    words: list[str] = []
    for kind, row in groupby(operations, key=lambda operation: operation.phrase.kind):
        texts = [operation.phrase.text for operation in row]
        words += ["reshape"] if kind == "reshape" and len(texts) > 2 else texts
    return tuple(words)


def _block_label(title: str, before: Shape, after: Shape) -> tuple[str, ...]:
    """A block's class and width, ("BasicBlock", "64→128, /2"); the class alone where these are not images."""
    if len(before) != 3 or len(after) != 3:
        return (title,)
    (channels, side), (new_channels, new_side) = _channels_and_side(before), _channels_and_side(after)
    width = str(channels) if channels == new_channels else f"{channels}→{new_channels}"
    step = side // new_side if new_side else 1
    return title, f"{width}, /{step}" if step > 1 else width


def _channels_and_side(shape: Shape) -> tuple[int, int]:
    """Channels come first, unless it is the last side that differs from two equal ones."""
    first, middle, last = shape
    return (last, middle) if first == middle != last else (first, middle)


def _folded(boxes: list[_Box], blocks: Blocks) -> list[_Box]:
    """Boxes that follow one another and are equal, or blocks that grow by equal steps, as one box."""
    readers: dict[int, list[int]] = defaultdict(list)
    for n, box in enumerate(boxes, start=1):
        for source in box.sources:
            readers[source].append(n)
    folded: list[_Box] = []
    moved = {0: 0}
    start = 0
    while start < len(boxes):
        end = start + 1
        while end < len(boxes) and boxes[end].sources == [end] and readers[end] == [end + 1]:
            if boxes[end].node.group != boxes[start].node.group or not _repeats(boxes[start : end + 1], blocks):
                break
            end += 1
        if end - start == 2 and boxes[start].size != boxes[start + 1].size:
            end = start + 1  # two steps are no pattern yet
        run = boxes[start:end]
        folded.append(_fold(run))
        for n in range(start, end):
            moved[n + 1] = len(folded)
        start = end
    for box in folded:
        box.sources = list(dict.fromkeys(moved[source] for source in box.sources))
    return folded


def _repeats(run: Sequence[_Box], blocks: Blocks) -> bool:
    if all(box.size == run[0].size for box in run):
        return True
    signatures = {blocks.signature_of[box.block] if box.block else None for box in run}
    shapes = [(box.input_shape, box.node.output_shape) for box in run]
    if len(signatures) > 1 or None in signatures or any(len(after) != 3 for _, after in shapes):
        return False
    return len({tuple(b - a for a, b in zip(before, after, strict=True)) for before, after in shapes}) == 1


def _fold(run: Sequence[_Box]) -> _Box:
    nodes = [box.node for box in run]
    node = replace(
        nodes[0],
        output_shape=nodes[-1].output_shape,
        params=sum(node.params for node in nodes),
        macs=sum(node.macs for node in nodes),
        repeat=len(nodes),
    )
    return replace(run[0], node=node, items=[item for box in run for item in box.items])


def _output_positions(boxes: Sequence[_Box], inside: Inside) -> list[int]:
    """Boxes that are read outside; 0 too where a network returns its image."""
    inner = {item for box in boxes for item in box.items}
    passed_on = [0] if inside.outputs - inner else []
    return passed_on + [n for n, box in enumerate(boxes, start=1) if inside.outputs.intersection(box.items)]


def _edges(reads: Sequence[Iterable[int]]) -> list[Edge]:
    """One edge per source of each node; it skips where another source of that node also follows from it."""
    reached: list[set[int]] = []  # for each node, those that lead to it
    edges = []
    for target, sources in enumerate(reads):
        around = {node for source in sources for node in reached[source]}
        edges += [Edge(source, target, "skip" if source in around else "flow") for source in sources]
        reached.append(around | set(sources))
    return edges


# --- Which modules are blocks, what is inside each, and which of them have the same picture ---


@dataclass(eq=False)
class Inside:
    """What one call of a block, or of the network, does: items in order, and what each reads."""

    scope: Scope
    items: dict[Item, dict[Item | None, None]] = field(default_factory=dict)  # item -> its sources; None: from outside
    outputs: set[Item] = field(default_factory=set)  # items that are read outside

    def read(self, item: Item, source: Item | None) -> None:
        if item is not source:
            self.items[item][source] = None


class Blocks:
    """All blocks of a flow, from the network itself inwards."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.network = flow.operations[0].scope
        scopes = {self.network} | {scope for operation in flow.operations for scope in self._parts_in(operation)}
        self.inside: dict[Scope, Inside] = {scope: Inside(scope) for scope in scopes}
        self._homes: dict[Scope, Scope] = {}
        self._signatures: dict[Hashable, int] = {}
        for operation in flow.operations[1:]:
            self._enter(operation)
        for index in sorted(flow.outputs):
            for home, item in self._places(flow.operations[index]):
                self.inside[home].outputs.add(item)
        # Inner blocks come first: the signature of a block is made of theirs.
        deepest_first = sorted(self.inside, key=lambda scope: -sum(1 for _ in scope.ancestors))
        self.signature_of: dict[Scope, int] = {}
        self.exact_signature_of: dict[Scope, Hashable] = {}
        for scope in deepest_first:
            self.signature_of[scope] = self._signature(self.inside[scope])
            self.exact_signature_of[scope] = self._exact_signature(self.inside[scope])

    def operations_in(self, scope: Scope) -> Iterator[Operation]:
        """The operations of a block and of the blocks within it, in order."""
        for item in self.inside[scope].items:
            if isinstance(item, Operation):
                yield item
            else:
                yield from self.operations_in(item)

    def _parts_in(self, operation: Operation) -> Iterator[Scope]:
        """The innermost module in which what the operation reads has branched; none for most operations."""
        if len(operation.sources) < 2:
            return
        for scope in operation.scope.ancestors:
            within = sum(
                source != 0 and scope in self.flow.operations[source].scope.ancestors for source in operation.sources
            )
            if within + (within < len(operation.sources)) > 1:
                yield scope
                return

    def _home(self, scope: Scope) -> Scope:
        if scope not in self._homes:
            self._homes[scope] = next(s for s in scope.ancestors if s in self.inside)
        return self._homes[scope]

    def _places(self, operation: Operation) -> Iterator[tuple[Scope, Item]]:
        """Every block that the operation is in, from within, with the item that stands for it there."""
        item: Item = operation
        home = self._home(operation.scope)
        while True:
            yield home, item
            if home.parent is None:
                return
            item, home = home, self._home(home.parent)

    def _enter(self, operation: Operation) -> None:
        """Enter it, and what it reads, in every block around it; and what it reads as a result of other blocks."""
        places = list(self._places(operation))
        for home, item in places:
            self.inside[home].items.setdefault(item, {})
        homes = {home for home, _ in places}
        for index in operation.sources:
            origins = dict(self._places(self.flow.operations[index])) if index else {}
            for home, item in places:
                self.inside[home].read(item, origins.get(home))
                if home in origins:
                    break
            for home, item in origins.items():
                if home in homes:
                    break
                self.inside[home].outputs.add(item)

    def _signature(self, inside: Inside) -> int:
        """A number that is equal for blocks of one class with the same operations in the same order, at any width.

        Dropout does not count: networks set it block by block, and many to zero.
        """
        position: dict[Item | None, int] = {None: 0}
        rows: list[Hashable] = [inside.scope.title]
        for item, sources in inside.items.items():
            read = tuple(dict.fromkeys(position[source] for source in sources))
            if isinstance(item, Operation) and item.phrase.signature == "dropout":
                position[item] = read[0]
                continue
            position[item] = len(rows)
            rows.append((item.phrase.signature if isinstance(item, Operation) else self.signature_of[item], read))
        return self._signatures.setdefault(tuple(rows), len(self._signatures))

    def _exact_signature(self, inside: Inside) -> Hashable:
        """A key that is equal for blocks of one signature that agree in every width and count too."""
        return self.signature_of[inside.scope], *(
            item.exact_signature if isinstance(item, Operation) else self.exact_signature_of[item]
            for item in inside.items
        )
