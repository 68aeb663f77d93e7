"""The inside of a block as boxes: operations in a row that belong together are one, equal boxes in a row are one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from bench.structure.blocks import Blocks, Inside, Item
from bench.structure.description import Edge, Kind, Node
from bench.structure.flow import Operation, Scope

_MINOR: frozenset[Kind] = frozenset(("light", "reshape"))  # what joins the box of a neighbour
_WEIGHTED: frozenset[Kind] = frozenset(("convolution", "linear"))  # what norm and activation in front belong to
Shape = tuple[int, ...]


@dataclass
class _Box:
    """One or more operations, or one block; folded: several of these in a row."""

    items: list[Item]
    group: str
    kind: Kind
    label: tuple[str, ...]
    size: Hashable  # equal boxes have equal sizes
    input_shape: Shape
    output_shape: Shape
    params: int
    macs: int
    shared: bool
    block: Scope | None = None
    repeat: int = 1
    sources: list[int] = field(default_factory=list)  # positions of other boxes, from 1; 0 is the input


def boxes_of(inside: Inside, blocks: Blocks, input_shape: Shape) -> tuple[list[Node], list[Scope | None], list[Edge]]:
    """The nodes of a panel, the block that each stands for (the first of several), and the edges between."""
    boxes = [_box(items, group, inside, blocks, input_shape) for items, group in _units(inside)]
    boxes = _folded(_connected(boxes, inside), blocks)
    outputs = _output_positions(boxes, inside)
    nodes = [Node("input", ("input",), input_shape, 0, 0)]
    nodes += [
        Node(
            kind=box.kind,
            label=block_label(box.label[0], box.input_shape, box.output_shape) if box.block else box.label,
            output_shape=box.output_shape,
            params=box.params,
            macs=box.macs,
            repeat=box.repeat,
            shared=box.shared,
            group=box.group,
        )
        for box in boxes
    ]
    shape = boxes[outputs[-1] - 1].output_shape if outputs and outputs[-1] else input_shape
    nodes.append(Node("output", ("output",), shape, 0, 0))
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
    """`torch.stack(results).mean(0)`: the mean of the results."""
    texts = first.phrase.text, second.phrase.text
    return texts == ("stack", "mean") and first.output_shape[1:] == second.output_shape


def _split(chain: Sequence[Item]) -> list[list[Item]]:
    """conv, BN, ReLU, conv → [conv, BN, ReLU], [conv]; but BN, ReLU, conv, BN, ReLU, conv → [BN, ReLU, conv] twice."""
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
    return isinstance(item, Operation) and item.phrase.sort == "dropout"


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
    before = input_shape if source is None else output_shape(source, blocks)
    if isinstance(first, Scope):
        operations = list(blocks.operations_in(first))
        kind: Kind = "block"
        label: tuple[str, ...] = (first.title,)
        size = blocks.size_of[first]
    else:
        operations = [item for item in items if isinstance(item, Operation)]
        kinds = [op.phrase.kind for op in operations]
        kind = next((k for k in kinds if k not in _MINOR), "light" if "light" in kinds else kinds[0])
        label = _label(operations)
        size = tuple((op.phrase.sort, op.output_shape, op.params, op.macs, op.shared) for op in operations)
    params = sum(op.params for op in operations)
    return _Box(
        items=items,
        group=group,
        kind=kind,
        label=label,
        size=size,
        input_shape=before,
        output_shape=output_shape(items[-1], blocks),
        params=params,
        macs=sum(op.macs for op in operations),
        shared=params == 0 and any(op.shared for op in operations),
        block=first if isinstance(first, Scope) else None,
    )


def output_shape(item: Item, blocks: Blocks) -> Shape:
    """Of an operation, or of the last operation that a block hands on."""
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


def block_label(title: str, before: Shape, after: Shape) -> tuple[str, ...]:
    """("BasicBlock", "64→128, /2"); the title alone where these are not images."""
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


def _connected(boxes: list[_Box], inside: Inside) -> list[_Box]:
    """The boxes with the positions of what each reads; within a box only its first item reads from outside."""
    position: dict[Item | None, int] = {item: n for n, box in enumerate(boxes, start=1) for item in box.items}
    position[None] = 0
    for box in boxes:
        box.sources = list(dict.fromkeys(position[source] for source in inside.items[box.items[0]]))
    return boxes


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
            if boxes[end].group != boxes[start].group or not _repeats(boxes[start : end + 1], blocks):
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
    sorts = {blocks.sort_of[box.block] if box.block else None for box in run}
    if len(sorts) > 1 or None in sorts or any(len(box.output_shape) != 3 for box in run):
        return False
    steps = {
        tuple(after - before for before, after in zip(box.input_shape, box.output_shape, strict=True)) for box in run
    }
    return len(steps) == 1


def _fold(run: Sequence[_Box]) -> _Box:
    first = run[0]
    first.items = [item for box in run for item in box.items]
    first.output_shape = run[-1].output_shape
    first.params = sum(box.params for box in run)
    first.macs = sum(box.macs for box in run)
    first.repeat = len(run)
    return first


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
