"""`fenghuo certificate`: the certificates that signatures are made and verified with."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from broker.clock import from_ms, now_ms
from broker.commands.common import Subparsers, add_config
from broker.errors import ConfigError
from broker.intake.departments import Departments
from broker.intake.signatures import SignatureCheck
from broker.privately import write_private
from broker.settings import Settings
from broker.signing.certificates import Expiry, key_kind, read_certificates
from broker.signing.generate import KEY_KINDS, new_pair
from broker.signing.sign import Signer


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser("certificate", help="certificates that signatures are made and verified with")
    inner = parser.add_subparsers(required=True, metavar="ACTION")
    listing = inner.add_parser(
        "list", help="list those of the departments, the first to end first; 1 if one has ended"
    )
    listing.add_argument("--json", action="store_true", help="as JSON")
    add_config(listing)
    listing.set_defaults(command=_list)
    show = inner.add_parser("show", help="show what a file holds; 1 if it cannot be relied on")
    show.add_argument("file", type=Path)
    show.set_defaults(command=_show)
    new = inner.add_parser("new", help="make a key pair and a certificate that it signs itself")
    new.add_argument("--name", required=True, help="whom the certificate is made out to")
    new.add_argument("--certificate", type=Path, required=True, metavar="FILE", help="where it is written")
    new.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="where its private key is written (0600)"
    )
    new.add_argument("--days", type=int, default=730, help="valid for so many days (default 730)")
    new.add_argument("--kind", choices=KEY_KINDS, default="p256", help="kind of key (default p256)")
    new.set_defaults(command=_new)


def _list(args: argparse.Namespace) -> int:
    settings = Settings.load(args.config)
    check = SignatureCheck.load(Departments.load(settings.files.departments))
    signer = Signer.of(settings.signing)
    expiries = [*check.certificates.expiries(), *([signer.expiry] if signer else [])]
    at_ms = now_ms()
    if args.json:
        print(json.dumps([_row(expiry, at_ms) for expiry in expiries], ensure_ascii=False, indent=2))
    else:
        for expiry in expiries:
            left = expiry.days_left(at_ms)
            days = f"{left} days left" if left >= 0 else f"ended {-left} days ago"
            ends = f"{from_ms(expiry.not_after_ms):%Y-%m-%d}"
            print(f"{expiry.department}\t{ends}\t{days}\t{expiry.subject}\t{expiry.fingerprint}\t{expiry.path}")
        if not expiries:
            print("no certificates are configured", file=sys.stderr)
    return 1 if any(expiry.not_after_ms < at_ms for expiry in expiries) else 0


def _row(expiry: Expiry, at_ms: int) -> dict[str, str | int]:
    return {
        "department": expiry.department,
        "subject": expiry.subject,
        "fingerprint": expiry.fingerprint,
        "file": str(expiry.path),
        "not_before": from_ms(expiry.not_before_ms).isoformat(),
        "not_after": from_ms(expiry.not_after_ms).isoformat(),
        "days_left": expiry.days_left(at_ms),
    }


def _show(args: argparse.Namespace) -> int:
    certificates, problems = read_certificates(args.file)
    at_ms = now_ms()
    for pinned in certificates:
        print(f"subject      {pinned.subject}")
        print(f"issuer       {pinned.certificate.issuer.rfc4514_string()}")
        print(f"key          {key_kind(pinned.certificate)}")
        print(f"valid        {from_ms(pinned.not_before_ms):%Y-%m-%d} to {from_ms(pinned.not_after_ms):%Y-%m-%d}")
        print(f"days left    {(Expiry.of('', pinned)).days_left(at_ms)}")
        print(f"fingerprint  {pinned.fingerprint}")
        untimely = pinned.validity_problem(at_ms, str(args.file))
        problems += [untimely] if untimely is not None else []
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _new(args: argparse.Namespace) -> int:
    for path in (args.certificate, args.key):
        if path.exists():
            print(f"{path} is there already; nothing is overwritten", file=sys.stderr)
            return 1
    try:
        certificate, key = new_pair(args.name, days=args.days, kind=args.kind)
    except (ValueError, OverflowError) as error:
        print(error, file=sys.stderr)
        return 2
    write_private(args.key, key)
    args.certificate.parent.mkdir(parents=True, exist_ok=True)
    args.certificate.write_text(certificate)
    [pinned], problems = read_certificates(args.certificate)
    if problems:
        raise ConfigError(problems)
    print(pinned.fingerprint)
    return 0
