"""Whether an alert that a department posted is signed as it must be."""

from __future__ import annotations

from typing import Literal

from broker.cap.limits import Limits
from broker.errors import Problem
from broker.intake.departments import Department, Departments
from broker.signing.certificates import Certificates
from broker.signing.verify import SignatureState, verify


class SignatureCheck:
    """Judges the signatures of what departments post, each against the department's own certificates."""

    def __init__(self, certificates: Certificates, *, limits: Limits | None = None) -> None:
        self.certificates = certificates
        self._limits = limits

    @classmethod
    def load(cls, departments: Departments, *, limits: Limits | None = None) -> SignatureCheck:
        """With the certificates that the departments' file names. Raises ConfigError with every problem of them."""
        files = {department.id: department.signature.certificates for department in departments}
        return cls(Certificates.load(files), limits=limits)

    def problems(
        self,
        body: bytes,
        form: Literal["xml", "json"],
        department: Department,
        received_ms: int,
        *,
        signed: bool = True,
    ) -> list[Problem]:
        """Why the signature keeps the alert from being accepted; empty when nothing does.

        A signature that is there is always judged, required or not: one that is broken, or that nobody can judge,
        is a reason to refuse, never a thing to overlook. `body` is as received. `signed` False says that the body
        was read as a valid message and that no signature stood in it, so that it need not be parsed once more.
        """
        if form == "json":
            return [_json()] if department.signature.required else []
        if not signed:
            return [_absent(department)] if department.signature.required else []
        pinned = self.certificates.of(department.id)
        verdict = verify(body, pinned, received_ms, limits=self._limits)
        if verdict.state is SignatureState.VALID:
            return []
        if verdict.state is SignatureState.ABSENT:
            return [_absent(department)] if department.signature.required else []
        return list(verdict.problems)


def _json() -> Problem:
    message = "the department must sign its alerts, and JSON carries no XML signature; send XML"
    return Problem("body", "signature.form.json", message)


def _absent(department: Department) -> Problem:
    message = f"{department.name_en} must sign its alerts, and this one has no signature"
    return Problem("/alert", "signature.absent", message)
