"""The outlines of today's districts as the live map draws them: simplified, and old districts folded into heirs."""

from __future__ import annotations

import json
from datetime import date

import shapely

from broker.geo.districts import District, Districts

_TOLERANCE: float = 0.0045
"""Degrees, some 500 m: less than a pixel on a map of the whole city."""
_DIGITS = 4


def drawn_districts(districts: Districts, on: date) -> bytes:
    """GeoJSON of the districts of a day, with `code` (six digits), `zh`, `en`, `approximate` and `folds`.

    `folds` are the codes of districts that exist on another day only and whose ground is mostly this one's:
    recipients still registered under them are drawn here. Borders are simplified together, so that
    neighbours keep theirs in common.
    """
    today = districts.on(on)
    outlines = shapely.coverage_simplify([district.outline for district in today], _TOLERANCE)
    folds: dict[str, list[str]] = {}
    for former in districts:
        if not former.valid_on(on):
            heir = max(today, key=lambda district: shapely.area(former.outline & district.outline))
            folds.setdefault(heir.code, []).append(former.code[:6])
    features = [
        {
            "type": "Feature",
            "properties": _properties(district, folds.get(district.code, [])),
            "geometry": json.loads(shapely.to_geojson(shapely.set_precision(outline, 10**-_DIGITS))),
        }
        for district, outline in zip(today, outlines, strict=True)
    ]
    collection = {"type": "FeatureCollection", "features": features}
    return json.dumps(collection, ensure_ascii=False, separators=(",", ":")).encode()


def _properties(district: District, folds: list[str]) -> dict[str, object]:
    return {
        "code": district.code[:6],
        "zh": district.name_zh,
        "en": district.name_en,
        "approximate": district.approximate,
        "folds": folds,
    }
