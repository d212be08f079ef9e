"""Bytes that seldom change, served with an ETag and compressed once: styles, modules, libraries, outlines."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

_TYPES: Final = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}
_TEXT: Final = ("text/", "application/json", "application/geo+json", "image/svg+xml")
_SMALL: Final = 512


@dataclass(frozen=True, slots=True)
class Asset:
    """A body, ready to be answered with."""

    content_type: str
    body: bytes
    packed: bytes | None
    """Gzipped, where that is worth it."""
    etag: str

    @classmethod
    def of(cls, body: bytes, content_type: str) -> Asset:
        """Hash and compress."""
        text = content_type.startswith(_TEXT)
        packed = gzip.compress(body, 9, mtime=0) if text and len(body) > _SMALL else None
        # A proxy must not mix the two encodings up, but either way it is the same thing that is cached.
        return cls(content_type, body, packed, hashlib.sha256(body).hexdigest()[:32])

    def answer(self, request: web.Request, cache: str) -> web.Response:
        """200 with the body, or 304 if the browser has it."""
        known = request.if_none_match or ()
        headers = {"ETag": f'W/"{self.etag}"', "Cache-Control": cache, "Vary": "Accept-Encoding"}
        if any(etag.value in (self.etag, "*") for etag in known):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = self.content_type
        if self.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return web.Response(body=self.packed, headers=headers)
        return web.Response(body=self.body, headers=headers)


class Static:
    """The files under one folder, kept in memory once asked for; a file that changes is read again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._assets: dict[Path, tuple[int, Asset]] = {}

    async def get(self, name: str) -> Asset | None:
        """The file at the relative path `name`, or None if there is none or it lies outside the folder."""
        return await asyncio.to_thread(self._get, name)

    def _get(self, name: str) -> Asset | None:
        try:
            path = (self._folder / name).resolve()
            if not path.is_relative_to(self._folder) or not path.is_file():
                return None
            changed = path.stat().st_mtime_ns
            known = self._assets.get(path)
            if known is not None and known[0] == changed:
                return known[1]
            guessed = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            charset = "; charset=utf-8" if guessed.startswith("text/") else ""
            asset = Asset.of(path.read_bytes(), guessed + charset)
        except (OSError, ValueError):
            return None
        self._assets[path] = (changed, asset)
        return asset
