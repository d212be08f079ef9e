"""What keeps the pages safe in a browser: headers on every answer, cookies, and redirects that stay here."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""No script, style or frame but our own files; nothing inline."""

SESSION_COOKIE: Final = "fenghuo_session"
FORM_COOKIE: Final = "fenghuo_form"


def protect(response: web.StreamResponse) -> None:
    """Put the headers on an answer that is not sent yet; what nobody may keep is marked so."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")


def set_secret_cookie(response: web.Response, name: str, value: str, *, secure: bool) -> None:
    """A cookie for this browser session that scripts cannot read and other sites cannot make it send."""
    response.set_cookie(name, value, path="/", httponly=True, samesite="Strict", secure=secure)


def local_path(wanted: str) -> str:
    """`wanted` if it is a path on this server, else `/`: a link must not lead a signed-in person elsewhere.

    Browsers read a backslash as a slash and skip control characters, so both are refused.
    """
    if not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted or not wanted.isprintable():
        return "/"
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return "/"
    return "/" if parts.scheme or parts.netloc else wanted
