"""The three warnings of the demo day, as the departments write them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from broker.cap.compose import Translation, circle_area, compose, geocode_area, polygon_area
from broker.cap.level import Level
from broker.cap.model import Category, ResponseType
from broker.cap.xml import to_xml

BEIJING = timezone(timedelta(hours=8))
_LASTS = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class DemoAlert:
    """One warning and who posts it."""

    department: str
    identifier: str
    title: str
    body: bytes


def day(now: datetime) -> Iterator[DemoAlert]:
    """The warnings of the day, sent at `now` (aware)."""
    sent = now.astimezone(BEIJING).replace(microsecond=0)
    yield _rainstorm(sent)
    yield _flash_flood(sent)
    yield _landslide(sent)


def _identifier(sender_code: str, sent: datetime) -> str:
    return f"{sender_code}_{sent:%Y%m%d%H%M%S}"


def _rainstorm(sent: datetime) -> DemoAlert:
    identifier = _identifier("50011741600000", sent)
    ring = [
        (30.206, 106.047),
        (30.342, 106.013),
        (30.291, 106.127),
        (30.158, 106.232),
        (30.275, 106.558),
        (30.141, 106.644),
        (29.978, 106.525),
        (29.916, 106.298),
        (30.061, 106.010),
    ]
    alert = compose(
        identifier,
        "hechuan-met@warning.example",
        sent,
        "11B03",
        "暴雨",
        Level.RED,
        "合川区气象台发布暴雨红色预警",
        "过去3小时合川多个镇街降雨量已达100毫米以上，预计未来3小时强降雨持续，山洪、内涝、滑坡的风险很高。",
        "立即离开河边、低洼处和陡坡，转移到高处的坚固房屋；停止户外作业和集会，不要涉水、不要驾车过水。",
        areas=[polygon_area("合川区涪江、嘉陵江两岸镇街", ring)],
        expires=sent + _LASTS,
        sender_name="合川区气象台",
        response_types=(ResponseType.SHELTER, ResponseType.EVACUATE),
        translations=[
            Translation(
                "en",
                "Rainstorm",
                "Hechuan Meteorological Station issues a RED rainstorm warning",
                "More than 100 mm of rain fell in several towns of Hechuan in the last 3 hours and heavy rain "
                "goes on for 3 more. Flash floods, flooded streets and landslides are very likely.",
                "Leave river banks, low ground and steep slopes now for a solid building on high ground. "
                "Stop outdoor work. Do not walk or drive through water.",
                "Hechuan Meteorological Station",
                ("Towns along the Fujiang and Jialing rivers in Hechuan",),
            )
        ],
    )
    return DemoAlert("met-hechuan", identifier, "暴雨红色 · 合川 Hechuan", to_xml(alert))


def _flash_flood(sent: datetime) -> DemoAlert:
    identifier = _identifier("50000033200000", sent)
    towns = ["500156101000", "500156111000", "500156112000", "500156004000", "500156203000"]
    alert = compose(
        identifier,
        "cq-hydro@warning.example",
        sent,
        "11A51",
        "山洪灾害",
        Level.ORANGE,
        "重庆市水文监测总站发布山洪灾害橙色预警",
        "受上游强降雨影响，武隆区白马镇、和顺镇、双河镇、羊角街道、黄莺乡未来6小时发生山洪的可能性大。",
        "立即离开河道、溪沟和桥涵，按照村里的路线转移到安全点；夜间留人值守，不要返回取物。",
        areas=[geocode_area("武隆区白马镇、和顺镇、双河镇、羊角街道、黄莺乡", towns)],
        expires=sent + _LASTS,
        sender_name="重庆市水文监测总站",
        response_types=(ResponseType.EVACUATE,),
        translations=[
            Translation(
                "en",
                "Flash flood",
                "Chongqing Hydrology Centre issues an ORANGE flash flood warning",
                "After heavy rain upstream, flash floods are likely within 6 hours in Baima, Heshun, Shuanghe, "
                "Yangjiao and Huangying of Wulong District.",
                "Leave river beds, gullies and bridges now and take the village route to the shelter. "
                "Keep watch at night. Do not go back for belongings.",
                "Chongqing Hydrology Centre",
                ("Baima, Heshun, Shuanghe, Yangjiao and Huangying in Wulong District",),
            )
        ],
    )
    return DemoAlert("hydrology", identifier, "山洪橙色 · 武隆 Wulong", to_xml(alert))


def _landslide(sent: datetime) -> DemoAlert:
    identifier = _identifier("50000033400000", sent)
    alert = compose(
        identifier,
        "cq-geo@warning.example",
        sent,
        "11D01",
        "滑坡",
        Level.YELLOW,
        "重庆市地质灾害防治中心发布滑坡黄色预警",
        "巫山县城周边斜坡出现变形，未来24小时发生滑坡的风险较高。",
        "远离陡坡、危岩和切坡建房；发现裂缝、掉块、泉水变浑时立即撤离，并告诉村干部。",
        areas=[circle_area("巫山县城周边25公里", 31.0768, 109.8790, 25)],
        expires=sent + _LASTS,
        sender_name="重庆市地质灾害防治中心",
        category=Category.GEO,
        response_types=(ResponseType.PREPARE, ResponseType.AVOID),
        translations=[
            Translation(
                "en",
                "Landslide",
                "Chongqing Geological Hazard Centre issues a YELLOW landslide warning",
                "Slopes near Wushan town are moving. The risk of landslides is raised for the next 24 hours.",
                "Keep away from steep slopes and overhanging rock. If you see cracks, falling stones or muddy "
                "springs, leave at once and tell the village head.",
                "Chongqing Geological Hazard Centre",
                ("Within 25 km of Wushan town",),
            )
        ],
    )
    return DemoAlert("geology", identifier, "滑坡黄色 · 巫山 Wushan", to_xml(alert))
