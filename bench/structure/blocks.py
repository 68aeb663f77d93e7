"""Which modules are blocks, what is inside each, and which of them have the same picture.

A module is a block where one of its own operations reads several results (`+`, concat) that branched within it. All
other modules are taken apart into their operations.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from bench.structure.flow import Flow, Operation, Scope

Item = Operation | Scope  # an operation, or one call of a block


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
            self._place(operation)
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

    def _place(self, operation: Operation) -> None:
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
        rows: list[Hashable] = [self.signature_of[inside.scope]]
        for item in inside.items:
            if isinstance(item, Operation):
                rows.append((item.phrase.signature, item.output_shape, item.params, item.macs, item.shared))
            else:
                rows.append(self.exact_signature_of[item])
        return tuple(rows)
