"""The sandbox that templates run in: no imports, no calls, no attributes, and a missing field is an error."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from jinja2 import FileSystemLoader, StrictUndefined, nodes
from jinja2.runtime import Context as JinjaContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from broker.rendition import words
from broker.rendition.context import VARIABLES
from broker.yamlfile import suggestion

_ALLOWED_CALLS: Final = ("self", "super")
_REFUSED: Final = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.Mul: "multiplication",
    nodes.Pow: "powers",
}


class _Environment(ImmutableSandboxedEnvironment):
    """Multiplication is intercepted because a text times a billion is a way to stop a server."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: JinjaContext, operator: str, left: Any, right: Any) -> Any:  # noqa: ARG002
        """Refuse whatever is intercepted."""
        raise self.exception(f"the operator {operator} is not allowed in templates")

    @staticmethod
    def exception(message: str) -> Exception:
        """Jinja's own error, so that it is reported like every other fault of a template."""
        from jinja2.exceptions import SecurityError

        return SecurityError(message)


def environment(folder: Path) -> ImmutableSandboxedEnvironment:
    """An environment over a folder of templates. Autoescape is off: what is made is text, never markup."""
    made = _Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        autoescape=False,  # pages that show these texts escape them
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
    )
    made.globals.clear()
    kept = {name: made.filters[name] for name in ("join", "length", "upper", "lower", "capitalize", "replace")}
    made.filters.clear()
    made.filters.update(kept)
    made.filters["sentences"] = words.sentences
    made.filters["spoken"] = words.spoken
    made.filters["ended"] = words.ended
    made.filters["listed"] = words.listed
    return made


def complaints(
    tree: nodes.Template, filters: Collection[str], others: Collection[str]
) -> Iterator[tuple[int, str, str]]:
    """(line, rule, sentence) for every construct that is unsafe or names what does not exist.

    `others` are the names of all templates, which it may extend.
    """
    assigned = {name.name for name in tree.find_all(nodes.Name) if name.ctx in ("store", "param")}
    known = VARIABLES | assigned | set(_ALLOWED_CALLS) | {"loop"}
    for node in tree.find_all(nodes.Node):
        refused = _REFUSED.get(type(node))
        if refused:
            yield node.lineno, "template.unsafe", f"{refused} is not allowed in templates"
        elif isinstance(node, nodes.Name) and node.ctx == "load" and node.name not in known:
            hint = suggestion(node.name, VARIABLES)
            yield node.lineno, "template.unknown_field", f"no field {node.name!r}{hint}"
        elif isinstance(node, nodes.Call) and not _is_block_call(node.node):
            yield node.lineno, "template.unsafe", "a call is not allowed; use a filter or {{ self.block() }}"
        elif isinstance(node, nodes.Getattr) and not _is_plain(node):
            yield node.lineno, "template.unsafe", f"the attribute .{node.attr} is not allowed; fields are plain"
        elif isinstance(node, nodes.Filter) and node.name not in filters:
            hint = suggestion(node.name, filters)
            yield node.lineno, "template.unknown_filter", f"no filter {node.name!r}{hint}"
        elif isinstance(node, nodes.Extends):
            yield from _extends_complaints(node, others)


def _extends_complaints(node: nodes.Extends, others: Collection[str]) -> Iterator[tuple[int, str, str]]:
    if not isinstance(node.template, nodes.Const):
        yield node.lineno, "template.unsafe", "extends needs the name of a template in quotes"
    elif node.template.value not in others:
        name = str(node.template.value)
        yield node.lineno, "template.extends", f"no template {name!r}{suggestion(name, others)}"


def _is_block_call(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Name):
        return node.name == "super"
    return isinstance(node, nodes.Getattr) and _is_own(node.node) and not node.attr.startswith("_")


def _is_own(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "self"


def _is_plain(node: nodes.Getattr) -> bool:
    """Whether it is a block of this template or a counter of a loop."""
    return (_is_own(node.node) or _is_loop(node.node)) and not node.attr.startswith("_")


def _is_loop(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "loop"
