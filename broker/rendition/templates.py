"""Templates by channel, language, family and event; rendering them into what a channel shows.

A template is a file `templates/<channel>/<language>/<name>.j2` with one block for each field of its channel,
and a block `action` that says what to do. It may extend another and change only some blocks. Line breaks in
a block are for the writer: in Chinese they vanish, in other languages they become a space.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from jinja2 import Template, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from broker.cap.model import Status
from broker.errors import ConfigError, Problem, ProblemsError
from broker.rendition.budget import BUDGET_PARTS, parts
from broker.rendition.context import HIDDEN, Context
from broker.rendition.sandbox import complaints, environment
from broker.rendition.words import chinese
from broker.types import CHANNELS, ChannelName, Phase
from broker.yamlfile import suggestion

FIELDS: Final[dict[ChannelName, tuple[str, ...]]] = {
    ChannelName.SMS: ("text",),
    ChannelName.BROADCAST: ("title", "text", "speech"),
    ChannelName.APP: ("title", "body", "instruction", "link"),
    ChannelName.SIGNAGE: ("headline", "line", "crawl"),
}
"""The texts that each channel relies on, by the names of its templates' blocks."""

ACTION: Final = "action"
OPTIONAL: Final = frozenset({"link"})
UNMARKED: Final = frozenset({"link"})
"""Fields that nobody reads as text."""
LONGEST: Final = 4000
"""Most characters of a field."""

MARKS: Final[dict[Status, tuple[str, str]]] = {
    Status.EXERCISE: ("【演练】", "[EXERCISE]"),
    Status.TEST: ("【测试】", "[TEST]"),
    Status.SYSTEM: ("【测试】", "[TEST]"),
    Status.DRAFT: ("【测试】", "[TEST]"),
}
"""What every text of a message that is not Actual begins with, in Chinese and in any other language."""


_WARNS: Final = (Phase.WARNING, Phase.UPDATE)


class RenditionError(ProblemsError):
    """The words of a segment could not be made; nothing may be sent in their place."""


@dataclass(frozen=True, slots=True)
class Words:
    """What one channel says in one language."""

    content: dict[str, object]
    template: str
    """`<channel>/<language>/<name>`."""
    findings: tuple[Problem, ...] = ()
    """What does not keep it from being sent but must be looked at, such as a budget exceeded."""


class TemplateSet:
    """All templates of a folder, compiled and looked through once."""

    def __init__(self, environment_: ImmutableSandboxedEnvironment, templates: dict[str, Template]) -> None:
        self._environment = environment_
        self._templates = templates

    @classmethod
    def load(cls, folder: Path) -> TemplateSet:
        """Compile every template. Raises ConfigError with file:line of everything wrong or unsafe in any."""
        made = environment(folder)
        templates: dict[str, Template] = {}
        problems: list[Problem] = []
        paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.j2"))}
        for name, path in paths.items():
            found = list(_problems_of(made, path, name, paths.keys()))
            problems += found
            if not found:
                try:
                    templates[name.removesuffix(".j2")] = made.get_template(name)
                except TemplateError as error:
                    problems.append(Problem(str(path), "template.syntax", f"{error.message}"))
        if not templates and not problems:
            problems.append(Problem(str(folder), "template.none", "no template here"))
        if problems:
            raise ConfigError(problems)
        return cls(made, templates)

    def __iter__(self) -> Iterator[str]:
        return iter(self._templates)

    def __contains__(self, name: object) -> bool:
        return name in self._templates

    def find(self, channel: ChannelName, language: str, family: str, event: str) -> str | None:
        """The template for an event: the event's own, else the family's general one; None without either.

        The family `default` is made of `<event>.j2` and `default.j2`; any other of `<family>.<event>.j2` and
        `<family>.j2`.
        """
        own = event if family == "default" else f"{family}.{event}"
        names = (f"{channel}/{language}/{name}" for name in (own, family))
        return next((name for name in names if name in self._templates), None)

    def render(self, channel: ChannelName, family: str, context: Context) -> Words:
        """The words of one segment for a channel, in the language of the context.

        Whatever is not Actual gets its mark at the start of every text, whatever the template says. Raises
        RenditionError if there is no template, if it fails, if a text comes out empty, or if an Actual warning
        says that it is a drill: signals that contradict each other are never sent.
        """
        name = self.find(channel, context.language, family, context.event)
        if name is None:
            place = f"templates/{channel}/{context.language}"
            message = f"no template {family!r} for {context.event or 'this event'}"
            raise RenditionError([Problem(place, "rendition.template", message)])
        texts = self.blocks(name, context)
        problems = [
            Problem(f"templates/{name}.j2", "rendition.empty", f"the block {field!r} comes out empty")
            for field in FIELDS[channel]
            if not texts[field] and field not in OPTIONAL
        ]
        problems += [
            Problem(f"templates/{name}.j2", "rendition.length", f"{field!r} has {len(texts[field])} characters")
            for field in FIELDS[channel]
            if len(texts[field]) > LONGEST
        ]
        mark = _mark(context)
        # What takes a warning back may say why: that it was a drill that went out by mistake.
        if mark is None and context.phase in _WARNS:
            problems += [
                Problem(
                    f"templates/{name}.j2",
                    "rendition.contradiction",
                    f"the message is Actual, but {field!r} says {word}",
                )
                for field in FIELDS[channel]
                for marks in MARKS.values()
                for word in marks
                if word.casefold() in texts[field].casefold()
            ]
        if problems:
            raise RenditionError(list(dict.fromkeys(problems)))
        return self._words(channel, name, context, texts, mark)

    def _words(
        self, channel: ChannelName, name: str, context: Context, texts: dict[str, str], mark: str | None
    ) -> Words:
        content: dict[str, object] = {
            "alert": context.alert,
            "event": context.event,
            "event_name": context.event_name,
            "level": context.level_code,
            "language": context.language,
            "sender_name": context.sender_name,
            "expires": context.expires_at,
            "exercise": context.status is not Status.ACTUAL,
            "phase": str(context.phase),
            "replaces": list(context.replaces),
        }
        for field in FIELDS[channel]:
            content[field] = marked(texts[field], None if field in UNMARKED else mark)
        findings: list[Problem] = []
        if channel is ChannelName.BROADCAST:
            content["plays"] = context.plays
        if channel is ChannelName.SMS and (needed := parts(str(content["text"]))) > BUDGET_PARTS:
            message = f"the message needs {needed} parts; the budget is {BUDGET_PARTS}"
            findings.append(Problem(f"templates/{name}.j2", "rendition.budget", message, str(needed)))
        return Words(content, name, tuple(findings))

    def blocks(self, name: str, context: Context) -> dict[str, str]:
        """Every block of a template, rendered and laid out. Raises RenditionError if the template fails."""
        template = self._templates[name]
        variables = {key: value for key, value in asdict(context).items() if key not in HIDDEN}
        try:
            made = template.new_context(variables)
            for _ in template.root_render_func(made):
                pass  # running the root is what makes the blocks of extended templates known
            texts = {
                block: _laid_out("".join(found[0](made)), context.language) for block, found in made.blocks.items()
            }
        except (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            problem = Problem(f"templates/{name}.j2", "rendition.failed", f"{type(error).__name__}: {error}")
            raise RenditionError([problem]) from error
        for field in (*FIELDS[ChannelName(name.partition("/")[0])], ACTION):
            texts.setdefault(field, "")
        return texts


def marked(text: str, mark: str | None) -> str:
    """`text` with the mark at its start, once."""
    return text if mark is None or text.startswith(mark) else f"{mark}{text}"


def _mark(context: Context) -> str | None:
    marks = MARKS.get(context.status)
    return None if marks is None else marks[0 if chinese(context.language) else 1]


def _laid_out(text: str, language: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    return ("" if chinese(language) else " ").join(line for line in lines if line)


def _problems_of(
    made: ImmutableSandboxedEnvironment, path: Path, name: str, others: Collection[str]
) -> Iterator[Problem]:
    """What is wrong with a template before anything is rendered."""
    pieces = name.split("/")
    if len(pieces) != 3 or pieces[0] not in CHANNELS:
        hint = suggestion(pieces[0], CHANNELS)
        yield Problem(str(path), "template.path", f"not at <channel>/<language>/<name>.j2{hint}")
        return
    try:
        tree = made.parse(path.read_text(encoding="utf-8"), name, str(path))
    except TemplateSyntaxError as error:
        yield Problem(f"{path}:{error.lineno}", "template.syntax", f"{error.message}")
        return
    except UnicodeDecodeError as error:
        yield Problem(str(path), "template.encoding", f"not UTF-8 at byte {error.start}")
        return
    for line, rule, sentence in sorted(set(complaints(tree, made.filters, others))):
        yield Problem(f"{path}:{line}", rule, sentence)
