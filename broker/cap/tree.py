"""The element tree between bytes and model: the same for XML and JSON, each node knowing its place."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from broker.cap.findings import Finding

REPEATABLE = frozenset(
    ("code", "info", "category", "responseType", "eventCode", "parameter", "resource")
) | frozenset(("area", "polygon", "circle", "geocode"))
"""Elements that CAP lets occur many times; their XPath always carries an index."""

TYPED = "xsi:type "
"""How an attribute xsi:type that names a type of XML Schema begins among a node's attributes; the type follows."""


class Node:
    """One element: its name, its own text as sent, its children, and where it stands."""

    __slots__ = (
        "_by_name",
        "_steps",
        "attributes",
        "children",
        "line",
        "name",
        "namespace",
        "parent",
        "pointer",
        "signature",
        "text",
    )

    def __init__(
        self,
        name: str,
        text: str = "",
        *,
        parent: Node | None = None,
        line: int | None = None,
        pointer: str | None = None,
        namespace: str | None = None,
        signature: bool = False,
        attributes: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.text = text
        self.children: list[Node] = []
        self.parent = parent
        self.line = line
        self.pointer = pointer
        self.namespace = namespace  # None for an element of CAP 1.2, else the foreign namespace
        self.signature = signature
        self.attributes = attributes  # only those that CAP does not allow; see TYPED for xsi:type
        self._by_name: dict[str, list[Node]] | None = None
        self._steps: dict[int, str] | None = None
        if parent is not None:
            parent.children.append(self)

    @property
    def place(self) -> str:
        """JSON Pointer (RFC 6901) for a node of JSON, else an XPath in local names, indices from 1."""
        if self.pointer is not None:
            return self.pointer
        steps: list[str] = []
        node: Node | None = self
        while node is not None:
            steps.append(node.name if node.parent is None else node.parent.step_to(node))
            node = node.parent
        return "/" + "/".join(reversed(steps))

    def step_to(self, child: Node) -> str:
        """The XPath step from here to a child; an index where the name repeats or could."""
        if self._steps is None:  # all at once, so that a report on thousands of twins stays linear
            totals = Counter(node.name for node in self.children)
            seen: Counter[str] = Counter()
            self._steps = {}
            for node in self.children:
                seen[node.name] += 1
                plain = totals[node.name] == 1 and node.name not in REPEATABLE
                self._steps[id(node)] = node.name if plain else f"{node.name}[{seen[node.name]}]"
        return self._steps[id(child)]

    def copy(self, parent: Node | None = None) -> Node:
        """The same node and all below it once more, under another parent."""
        twin = Node(
            self.name,
            self.text,
            parent=parent,
            line=self.line,
            pointer=self.pointer,
            namespace=self.namespace,
            signature=self.signature,
            attributes=self.attributes,
        )
        for child in self.children:
            child.copy(twin)
        return twin

    def settle(self) -> None:
        """Fix the places of everything below, so that they stay those of the document when the tree is changed."""
        for child in self.children:
            self.step_to(child)
            child.settle()

    def drop(self, child: Node) -> None:
        """Take a child out; `settle` first where places still matter."""
        self.children.remove(child)
        self._by_name = None

    def put(self, name: str, text: str) -> None:
        """Add a child that stands for a part of this node's text, and shares its place in the document."""
        Node(name, text, parent=self, line=self.line)
        self._by_name = None
        self._steps = None

    def dissolve(self) -> None:
        """Cut the ties between a tree that nobody needs any more, so that its memory is free at once.

        Nodes and their parents know each other, and the collector of such rings takes longer over the tree of a
        message than everything else that is done with it.
        """
        for child in self.children:
            child.parent = None
            if child.children:
                child.dissolve()

    def _index(self) -> dict[str, list[Node]]:
        """The CAP children under their names, in order; the tree must be complete before this is asked."""
        index: dict[str, list[Node]] = {}
        for child in self.children:
            if child.namespace is None:
                if child.name in index:
                    index[child.name].append(child)
                else:
                    index[child.name] = [child]
        self._by_name = index
        return index

    def all(self, name: str) -> list[Node]:
        """The CAP children of that name, in order."""
        # Asked a hundred times of every message, so it is written out.
        index = self._by_name
        if index is None:
            index = self._index()
        return index.get(name, [])

    def first(self, name: str) -> Node | None:
        """The first CAP child of that name."""
        index = self._by_name
        if index is None:
            index = self._index()
        found = index.get(name)
        return found[0] if found else None

    def value(self, name: str) -> str | None:
        """The text of the first CAP child of that name, as sent."""
        child = self.first(name)
        return None if child is None else child.text


@dataclass(slots=True)
class Parsed:
    """What a codec made of the bytes: a tree, or none, and what was wrong with the encoding itself.

    `faithful` is False when the tree does not hold all that was sent (a JSON value of a wrong type, a key
    given twice), so that no model may be built from it. `version` is the CAP version that the namespace
    names, where it names one. `signed_content` are the elements of CAP that stand inside of signatures, each
    the root of a tree of its own: they are no part of the message, but a schema looks at them.
    """

    root: Node | None
    findings: list[Finding] = field(default_factory=list)
    faithful: bool = True
    version: str | None = None
    signatures: int = 0
    signed_content: list[Node] = field(default_factory=list)
