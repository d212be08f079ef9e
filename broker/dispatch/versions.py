"""Names for what decides a plan besides the alert: digests over files, so that a change of any is seen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def digest_of(folders: Iterable[Path], suffixes: tuple[str, ...] = (".yaml", ".j2")) -> str:
    """Hexadecimal SHA-256 over the names and bytes of all files below `folders`, in a fixed order."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in suffixes and path.is_file()):
            data = path.read_bytes()
            name = path.relative_to(folder).as_posix().encode()
            digest.update(b"%d:%b%d:" % (len(name), name, len(data)))
            digest.update(data)
    return digest.hexdigest()
