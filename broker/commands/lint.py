"""`fenghuo alert lint`: everything that is wrong with files of alerts, for people and for programs."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.commands.common import Subparsers

if TYPE_CHECKING:
    from broker.cap.document import Reading
    from broker.cap.findings import Finding, Posture
    from broker.cap.identities import Identities
    from broker.cap.wrapping import Unwrapped, Wrapped
    from broker.signing.certificates import PinnedCertificate

STDIN = "-"
_FORMS = {"atom": "Atom feed", "rss": "RSS feed", "edxl-de": "EDXL distribution", "list": "list of alerts"}
_WORDS = {"error": "error", "warning": "warning", "info": "note"}


def add(actions: Subparsers) -> None:
    """Register the action."""
    parser = actions.add_parser(
        "lint",
        help="list everything that is wrong with files of alerts",
        description="Lists everything that is wrong with alerts: CAP 1.2, 1.1 and 1.0 as XML, CAP 1.2 as JSON, and "
        "every alert in an Atom or RSS feed, an EDXL distribution or a list. Nothing is fetched, changed or sent.",
        epilog="Exit code: 0 when every alert is valid, 1 when any is not, 2 when a file cannot be read.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file, or - for standard input")
    parser.add_argument("--profile", metavar="NAME", help="hold the alerts to a profile too: wmo, ipaws …")
    parser.add_argument("--lenient", action="store_true", help="judge as a foreign feed, not as our departments")
    parser.add_argument(
        "--certificate",
        action="append",
        default=[],
        type=Path,
        metavar="PEM",
        help="verify signatures against this certificate; may be given several times",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(command=_lint)


@dataclass(slots=True)
class _Alert:
    """One alert of a file, as it was read."""

    reading: Reading
    findings: list[Finding]
    item: Wrapped

    @property
    def valid(self) -> bool:
        return self.reading.alert is not None and not any(each.severity == "error" for each in self.findings)

    def as_dict(self) -> dict[str, Any]:
        reading, alert = self.reading, self.reading.alert
        return {
            "identifier": alert.identifier if alert else reading.identifier,
            "sender": alert.sender if alert else reading.sender,
            "sent": alert.sent.text if alert else reading.sent,
            "valid": self.valid,
            "schema_valid": reading.schema_valid,
            "findings": [finding.as_dict() for finding in self.findings],
        }


@dataclass(slots=True)
class _File:
    """What one file holds."""

    name: str
    unwrapped: Unwrapped
    alerts: list[_Alert] = field(default_factory=list)

    @property
    def wrapped(self) -> bool:
        return self.unwrapped.form in _FORMS

    @property
    def valid(self) -> bool:
        sound = not any(finding.severity == "error" for finding in self.unwrapped.findings)
        return sound and all(alert.valid for alert in self.alerts)

    def as_dict(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"file": self.name, "alerts": [alert.as_dict() for alert in self.alerts]}
        if self.wrapped:
            shown["wrapping"] = {
                "form": self.unwrapped.form,
                "findings": [finding.as_dict() for finding in self.unwrapped.findings],
                "links": [
                    {"href": link.href, "title": link.title, "updated": link.updated, "id": link.id}
                    for link in self.unwrapped.links
                ],
            }
        return shown


class _Linter:
    """What all files of a run share."""

    def __init__(self, posture: Posture, profile: str | None, certificates: Sequence[PinnedCertificate]) -> None:
        from broker.cap.identities import Identities

        self._posture = posture
        self._profile = profile
        self._certificates = certificates
        self._identities: Identities = Identities()

    def file(self, name: str, data: bytes) -> _File:
        from broker.cap.document import NATIONAL
        from broker.cap.wrapping import Unwrapped, Wrapped, unwrap

        if self._profile == NATIONAL:
            unwrapped = Unwrapped("alert", (Wrapped("", 1, data, exact=True),), ())
        else:
            unwrapped = unwrap(data, posture=self._posture)
        if name.endswith(".json") and unwrapped.form != "json":
            unwrapped = replace(unwrapped, form="json")
        file = _File(name, unwrapped)
        for number, item in enumerate(unwrapped.alerts, 1):
            where = name if not file.wrapped else f"{name}, alert {number}"
            file.alerts.append(self._alert(item, where, unwrapped.form))
        return file

    def _alert(self, item: Wrapped, where: str, form: str) -> _Alert:
        from broker.cap.document import read

        assert item.data is not None
        kind = "json" if form == "json" else "xml"
        reading = read(item.data, kind, posture=self._posture, profile=self._profile)  # type: ignore[arg-type]
        findings = list(reading.findings)
        again = self._identities.judge(reading, item.data, where)
        if again is not None:
            findings.append(again)
        findings += self._signature(reading, item.data)
        findings = [
            replace(each, line=each.line + item.line - 1) if each.line is not None else each for each in findings
        ]
        return _Alert(reading, findings, item)

    def _signature(self, reading: Reading, data: bytes) -> Iterable[Finding]:
        from broker.cap.catalogue import RULES
        from broker.cap.findings import Finding, Grade, clip

        if not reading.signatures:
            return
        if not self._certificates:
            rule = RULES["cap.check.skipped"]
            message = "the signature was not checked: no certificate was given (--certificate)"
            yield Finding(rule.id, rule.grade(self._posture), "/alert/Signature", "", message, rule.clause)
            return
        from broker.clock import now_ms
        from broker.signing.verify import verify

        for problem in verify(data, self._certificates, now_ms()).problems:
            value = clip(str(problem.value or ""))
            yield Finding(problem.rule, Grade.ERROR, problem.place, value, problem.message, "XML Signature")


def _lint(args: argparse.Namespace) -> int:
    from broker.cap.findings import Posture

    if not _known(args.profile):
        return 2
    certificates = _certificates(args.certificate)
    if certificates is None:
        return 2
    linter = _Linter(Posture.LENIENT if args.lenient else Posture.STRICT, args.profile, certificates)
    shown: list[dict[str, Any]] = []
    files: list[_File] = []
    unread = 0
    for name in args.files:
        try:
            data = _bytes(name)
        except OSError as error:
            unread += 1
            print(f"{name}: {error.strerror}", file=sys.stderr)
            shown.append({"file": name, "alerts": [], "error": error.strerror})
            continue
        files.append(linter.file(name, data))
        shown.append(files[-1].as_dict())
        if not args.json:
            _print(files[-1])
    if args.json:
        print(json.dumps(shown, ensure_ascii=False, indent=1))
    elif sum(len(file.alerts) for file in files) > 1:
        _summary(files)
    if unread:
        return 2
    return 0 if all(file.valid for file in files) else 1


def _known(profile: str | None) -> bool:
    if profile is None:
        return True
    from broker.cap.document import NATIONAL
    from broker.cap.profiles import PROFILES

    names = sorted({*PROFILES, NATIONAL})
    if profile in names:
        return True
    print(f"there is no profile {profile}; there are {', '.join(names)}", file=sys.stderr)
    return False


def _certificates(paths: Sequence[Path]) -> Sequence[PinnedCertificate] | None:
    if not paths:
        return ()
    from broker.signing.certificates import read_certificates

    found: list[PinnedCertificate] = []
    good = True
    for path in paths:
        certificates, problems = read_certificates(path)
        found += certificates
        for problem in problems:
            print(problem, file=sys.stderr)
            good = False
    return found if good else None


def _bytes(name: str) -> bytes:
    """The bytes of a file, one more than the limit at most: that is enough to say that it is too large."""
    from broker.cap.wrapping import FEED_LIMITS

    most = FEED_LIMITS.max_bytes + 1
    if name == STDIN:
        return sys.stdin.buffer.read(most)
    with Path(name).open("rb") as file:
        return file.read(most)


def _print(file: _File) -> None:
    name = "standard input" if file.name == STDIN else file.name
    if not file.wrapped:
        for alert in file.alerts:
            _print_alert(name, alert)
        return
    unwrapped = file.unwrapped
    held = _count(len(file.alerts), "alert")
    linked = f", {_count(len(unwrapped.links), 'link')} to alerts that are not looked at" if unwrapped.links else ""
    print(f"{name}: {_FORMS[unwrapped.form]} with {held}{linked}")
    _print_findings(unwrapped.findings)
    for number, alert in enumerate(file.alerts, 1):
        identifier = alert.reading.alert.identifier if alert.reading.alert else alert.reading.identifier
        called = f" ({identifier})" if identifier else ""
        _print_alert(f"{name}, alert {number} on line {alert.item.line}{called}", alert)


def _print_alert(name: str, alert: _Alert) -> None:
    counts = Counter(_WORDS[finding.severity] for finding in alert.findings)
    listed = ", ".join(_count(counts[word], word) for word in _WORDS.values() if counts[word])
    verdict = "valid" if alert.valid else "NOT valid"
    print(f"{name}: {verdict}" + (f", {listed}" if listed else ""))
    _print_findings(alert.findings)


def _print_findings(findings: Iterable[Finding]) -> None:
    for finding in findings:
        clause = f"CAP 1.2, {finding.clause}" if finding.clause[:1].isdigit() else finding.clause
        at = [f"line {finding.line}"] if finding.line and not finding.place.startswith("line ") else []
        at += [finding.place] if finding.place else []
        print(f"  {_WORDS[finding.severity]}: {finding.message}")
        print(f"    {' '.join(at) or 'the whole message'}" + (f": {finding.value}" if finding.value else ""))
        print(f"    rule {finding.rule} ({clause})")


def _summary(files: Sequence[_File]) -> None:
    alerts = [alert for file in files for alert in file.alerts]
    bad = sum(not alert.valid for alert in alerts)
    print(f"{_count(len(alerts), 'alert')}: {len(alerts) - bad} valid, {bad} not valid")


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
