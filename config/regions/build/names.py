#!/usr/bin/env python3
"""English names: fixed for the districts, toneless pinyin with a few corrections for towns and villages."""

from __future__ import annotations

import re

from pypinyin import lazy_pinyin

DISTRICT_EN = {
    "万州区": "Wanzhou District",
    "涪陵区": "Fuling District",
    "渝中区": "Yuzhong District",
    "大渡口区": "Dadukou District",
    "江北区": "Jiangbei District",
    "沙坪坝区": "Shapingba District",
    "九龙坡区": "Jiulongpo District",
    "南岸区": "Nan'an District",
    "北碚区": "Beibei District",
    "綦江区": "Qijiang District",
    "大足区": "Dazu District",
    "渝北区": "Yubei District",
    "巴南区": "Banan District",
    "黔江区": "Qianjiang District",
    "长寿区": "Changshou District",
    "江津区": "Jiangjin District",
    "合川区": "Hechuan District",
    "永川区": "Yongchuan District",
    "南川区": "Nanchuan District",
    "璧山区": "Bishan District",
    "铜梁区": "Tongliang District",
    "潼南区": "Tongnan District",
    "荣昌区": "Rongchang District",
    "开州区": "Kaizhou District",
    "梁平区": "Liangping District",
    "武隆区": "Wulong District",
    "两江新区": "Liangjiang New Area",
    "城口县": "Chengkou County",
    "丰都县": "Fengdu County",
    "垫江县": "Dianjiang County",
    "忠县": "Zhongxian County",
    "云阳县": "Yunyang County",
    "奉节县": "Fengjie County",
    "巫山县": "Wushan County",
    "巫溪县": "Wuxi County",
    "石柱土家族自治县": "Shizhu Tujia Autonomous County",
    "秀山土家族苗族自治县": "Xiushan Tujia and Miao Autonomous County",
    "酉阳土家族苗族自治县": "Youyang Tujia and Miao Autonomous County",
    "彭水苗族土家族自治县": "Pengshui Miao and Tujia Autonomous County",
}

POPULATION = {
    "万州区": 1_564_000,
    "涪陵区": 1_115_000,
    "渝中区": 589_000,
    "大渡口区": 422_000,
    "江北区": 926_000,
    "沙坪坝区": 1_477_000,
    "九龙坡区": 1_527_000,
    "南岸区": 1_198_000,
    "北碚区": 835_000,
    "綦江区": 1_011_000,
    "大足区": 835_000,
    "渝北区": 2_191_000,
    "巴南区": 1_179_000,
    "黔江区": 487_000,
    "长寿区": 693_000,
    "江津区": 1_360_000,
    "合川区": 1_245_000,
    "永川区": 1_149_000,
    "南川区": 572_000,
    "璧山区": 756_000,
    "铜梁区": 686_000,
    "潼南区": 688_000,
    "荣昌区": 669_000,
    "开州区": 1_203_000,
    "梁平区": 645_000,
    "武隆区": 357_000,
    "城口县": 197_000,
    "丰都县": 557_000,
    "垫江县": 651_000,
    "忠县": 721_000,
    "云阳县": 929_000,
    "奉节县": 745_000,
    "巫山县": 462_000,
    "巫溪县": 389_000,
    "石柱土家族自治县": 389_000,
    "秀山土家族苗族自治县": 496_000,
    "酉阳土家族苗族自治县": 607_000,
    "彭水苗族土家族自治县": 531_000,
}
"""Residents, approximate: the 2020 census, in thousands."""

SYLLABLES = {
    "长": "chang",
    "朝": "chao",
    "都": "du",
    "佛": "fo",
    "曾": "zeng",
    "覃": "qin",
    "柏": "bai",
    "涪": "fu",
    "碚": "bei",
    "綦": "qi",
    "酉": "you",
    "垭": "ya",
    "塝": "bang",
    "硚": "qiao",
    "什": "shi",
    "咀": "zui",
    "查": "zha",
    "杉": "shan",
    "幢": "zhuang",
    "么": "yao",
}
"""How these characters sound in place names of Chongqing, whatever the dictionary prefers."""

PHRASES = {
    "重庆": ["chong", "qing"],
    "松溉": ["song", "ji"],
    "成长": ["cheng", "zhang"],
    "大足": ["da", "zu"],
}

GROUPS = {"土家族": "Tujia", "苗族": "Miao", "仡佬族": "Gelao", "回族": "Hui"}


def pinyin(name: str) -> str:
    """Toneless pinyin in one capitalised word, with the apostrophe where two syllables would run together."""
    if "·" in name:
        return " ".join(pinyin(part) for part in name.split("·"))
    syllables = re.findall(r"[一-鿿]|[^一-鿿]+", name)
    spoken = lazy_pinyin(name, v_to_u=True, errors=lambda text: [text])
    if len(spoken) != len(syllables):
        raise ValueError(f"{name}: {spoken}")
    spoken = [SYLLABLES.get(char, sound) for char, sound in zip(syllables, spoken, strict=True)]
    for phrase, sounds in PHRASES.items():
        start = name.find(phrase)
        if start >= 0 and len(syllables) == len(name):
            spoken[start : start + len(phrase)] = sounds
    word = spoken[0]
    for sound in spoken[1:]:
        word += ("'" if sound[0] in "aeo" else "") + sound
    return word[0].upper() + word[1:]


def town_name_en(name: str) -> str:
    """`X Town`, `X Township`, `X Subdistrict`, `X Tujia Ethnic Township`."""
    for ending, english in (("街道", "Subdistrict"), ("镇", "Town")):
        if name.endswith(ending):
            return f"{pinyin(name.removesuffix(ending))} {english}"
    stem = name.removesuffix("乡")
    groups: list[str] = []
    while found := next((group for group in GROUPS if stem.endswith(group)), None):
        groups.insert(0, GROUPS[found])
        stem = stem.removesuffix(found)
    return f"{pinyin(stem)} {' and '.join(groups)}{' Ethnic ' if groups else ''}Township"


def village_name_zh(name: str) -> str:
    """The place rather than its committee: 东方广场社区居民委员会 → 东方广场社区."""
    for committee in ("居民委员会", "村民委员会"):
        name = name.removesuffix(committee)
    return name


def village_name_en(name: str) -> str:
    """`X Village` or `X Community`."""
    if name.endswith("社区工作站"):
        return f"{pinyin(name.removesuffix('社区工作站'))} Community Station"
    if name.endswith("社区"):
        return f"{pinyin(name.removesuffix('社区'))} Community"
    return f"{pinyin(name.removesuffix('村'))} Village"
