"""`fenghuo alert`: submit a message, follow it, preview and release it, turn it down, take it back."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import aiohttp

from broker.commands import lint
from broker.commands.common import Subparsers, run

TOKEN_VARIABLE = "FENGHUO_TOKEN"  # noqa: S105 - the variable's name


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser("alert", help="lint, submit, follow, release and cancel alerts")
    inner = parser.add_subparsers(required=True, metavar="ACTION")
    lint.add(inner)

    def action(name: str, work: Any, says: str, *positional: str) -> argparse.ArgumentParser:
        made = inner.add_parser(name, help=f"{says}; the token is taken from ${TOKEN_VARIABLE}")
        for word in positional:
            made.add_argument(word, type=Path if word == "file" else str, metavar=word.upper())
        made.add_argument("--url", default="http://127.0.0.1:8080", help="where the API is")
        made.set_defaults(command=lambda args: run(work(args)))
        return made

    action("submit", _submit, "post a CAP file", "file")
    action("status", _status, "state and counts", "id")
    action("preview", _preview, "what releasing it now would do", "id")
    release = action("release", _release, "let a waiting alert go", "id")
    release.add_argument("--preview", required=True, metavar="HASH", help="the preview that you have looked at")
    reject = action("reject", _reject, "turn a waiting alert down", "id")
    reject.add_argument("--reason", required=True, help="why, for the department")
    cancel = action("cancel", _cancel, "take an alert back from everybody who was sent it", "id")
    cancel.add_argument("--key", help="a word for this request: asked again with it, it does nothing more")
    either = cancel.add_mutually_exclusive_group(required=True)
    either.add_argument("--reason", help="why; it goes into the Cancel's note")
    either.add_argument("--show", action="store_true", help="print the prepared Cancel and send nothing")


async def _submit(args: argparse.Namespace) -> int:
    try:
        data = args.file.read_bytes()
    except OSError as error:
        print(f"{args.file}: {error.strerror}", file=sys.stderr)
        return 2
    kind = "application/json" if _form(args.file, data) == "json" else "application/cap+xml"
    return await _call(args, "POST", "/v1/alerts", data=data, headers={"Content-Type": kind})


async def _status(args: argparse.Namespace) -> int:
    return await _call(args, "GET", _path(args))


async def _preview(args: argparse.Namespace) -> int:
    return await _call(args, "POST", _path(args, "preview"))


async def _release(args: argparse.Namespace) -> int:
    return await _call(args, "POST", _path(args, "release"), body={"preview": args.preview})


async def _reject(args: argparse.Namespace) -> int:
    return await _call(args, "POST", _path(args, "reject"), body={"reason": args.reason})


async def _cancel(args: argparse.Namespace) -> int:
    if args.show:
        return await _call(args, "GET", _path(args, "cancel"))
    headers = {} if args.key is None else {"Idempotency-Key": args.key}
    return await _call(args, "POST", _path(args, "cancel"), body={"reason": args.reason}, headers=headers)


def _path(args: argparse.Namespace, *more: str) -> str:
    return "/".join(("/v1/alerts", quote(args.id, safe=""), *more))


def _form(path: Path, data: bytes) -> Literal["xml", "json"]:
    return "json" if path.suffix == ".json" or data.lstrip()[:1] == b"{" else "xml"


async def _call(
    args: argparse.Namespace,
    method: str,
    path: str,
    *,
    data: bytes | None = None,
    body: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> int:
    """Ask, print the answer, and return 0 if it is good, 1 if it is no, 2 without a token."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        # Something else than the token, such as a message that a shell caught along with it.
        print(f"set {TOKEN_VARIABLE} to a token that `fenghuo department token` made", file=sys.stderr)
        return 2
    if not args.url.startswith(("http://", "https://")):
        print(f"--url {args.url}: an address begins with http:// or https://", file=sys.stderr)
        return 2
    url = f"{args.url.rstrip('/')}{path}"
    sent = {**(headers or {}), "Authorization": f"Bearer {token}"}
    if body is not None:
        data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
    timeout = aiohttp.ClientTimeout(total=30)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, headers=sent, data=data) as answer,
        ):
            text, kind, status = await answer.text(), answer.content_type, answer.status
    except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError) as error:
        print(f"no answer from {url}: {error}", file=sys.stderr)
        return 1
    if kind.endswith("xml"):
        print(text)
        return 0 if status < 400 else 1
    try:
        print(json.dumps(json.loads(text), ensure_ascii=False, indent=1))
    except ValueError:
        print(f"{url} answered {status} with something else than JSON", file=sys.stderr)
        return 1
    return 0 if status < 400 else 1
