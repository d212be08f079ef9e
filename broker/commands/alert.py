"""`fenghuo alert`: lint files, submit one, follow one."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Literal

import aiohttp

from broker.commands import lint
from broker.commands.common import Subparsers, run

TOKEN_VARIABLE = "FENGHUO_TOKEN"  # noqa: S105 - the variable's name


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser("alert", help="lint, submit and follow alerts")
    inner = parser.add_subparsers(required=True, metavar="ACTION")
    lint.add(inner)
    submit = inner.add_parser("submit", help=f"post a CAP file; the token is taken from ${TOKEN_VARIABLE}")
    submit.add_argument("file", type=Path, metavar="FILE")
    status = inner.add_parser("status", help=f"state and counts; the token is taken from ${TOKEN_VARIABLE}")
    status.add_argument("id")
    for action, work in ((submit, _submit), (status, _status)):
        action.add_argument("--url", default="http://127.0.0.1:8080", help="where the API is")
        action.set_defaults(command=lambda args, work=work: run(work(args)))


def _form(path: Path, data: bytes) -> Literal["xml", "json"]:
    return "json" if path.suffix == ".json" or data.lstrip()[:1] == b"{" else "xml"


def _headers() -> dict[str, str] | None:
    token = os.environ.get(TOKEN_VARIABLE)
    if not token:
        print(f"set {TOKEN_VARIABLE} to a token that `fenghuo department token` made", file=sys.stderr)
        return None
    return {"Authorization": f"Bearer {token}"}


async def _submit(args: argparse.Namespace) -> int:
    headers = _headers()
    if headers is None:
        return 2
    try:
        data = args.file.read_bytes()
    except OSError as error:
        print(f"{args.file}: {error.strerror}", file=sys.stderr)
        return 2
    kind = "application/json" if _form(args.file, data) == "json" else "application/cap+xml"
    return await _call("POST", f"{args.url}/v1/alerts", headers | {"Content-Type": kind}, data)


async def _status(args: argparse.Namespace) -> int:
    headers = _headers()
    if headers is None:
        return 2
    return await _call("GET", f"{args.url}/v1/alerts/{args.id}", headers, None)


async def _call(method: str, url: str, headers: dict[str, str], data: bytes | None) -> int:
    timeout = aiohttp.ClientTimeout(total=30)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, headers=headers, data=data) as answer,
        ):
            body = await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError) as error:
        print(f"no answer from {url}: {error}", file=sys.stderr)
        return 1
    except ValueError:
        print(f"{url} answered {answer.status} with something else than JSON", file=sys.stderr)
        return 1
    print(json.dumps(body, ensure_ascii=False, indent=1))
    return 0 if answer.status < 400 else 1
