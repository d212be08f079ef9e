"""A valid alert that uses every element, as text to be broken, and the corpus of real alerts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

NOW = datetime(2026, 6, 18, 2, 0, tzinfo=UTC)

CORPUS = Path(__file__).parents[4] / "shared" / "corpus"

ALERT = """<?xml version="1.0" encoding="UTF-8"?>
<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2">
  <identifier>50000041600000_20260618093000</identifier>
  <sender>rain@cq.example.org</sender>
  <sent>2026-06-18T09:30:00+08:00</sent>
  <status>Actual</status>
  <msgType>Update</msgType>
  <source>forecast desk</source>
  <scope>Public</scope>
  <code>profile:example</code>
  <note>raised from orange</note>
  <references>rain@cq.example.org,50000041600000_20260618080000,2026-06-18T08:00:00+08:00</references>
  <incidents>flood-2026 "second flood"</incidents>
  <info>
    <language>zh-CN</language>
    <category>Met</category>
    <event>暴雨</event>
    <responseType>Shelter</responseType>
    <urgency>Immediate</urgency>
    <severity>Extreme</severity>
    <certainty>Likely</certainty>
    <audience>公众</audience>
    <eventCode><valueName>GB/T 35561</valueName><value>11B03</value></eventCode>
    <effective>2026-06-18T09:30:00+08:00</effective>
    <onset>2026-06-18T10:00:00+08:00</onset>
    <expires>2026-06-18T15:30:00+08:00</expires>
    <senderName>重庆市气象台</senderName>
    <headline>暴雨红色预警</headline>
    <description>未来三小时降雨量将达100毫米以上。</description>
    <instruction>请停止户外活动。</instruction>
    <web>https://example.org/alerts/1</web>
    <contact>值班室</contact>
    <parameter><valueName>rain</valueName><value>100</value></parameter>
    <resource>
      <resourceDesc>map</resourceDesc>
      <mimeType>image/png</mimeType>
      <size>5</size>
      <uri>https://example.org/map.png</uri>
      <derefUri>aGVsbG8=</derefUri>
      <digest>aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d</digest>
    </resource>
    <area>
      <areaDesc>合川区</areaDesc>
      <polygon>29.9,106.1 29.9,106.5 30.2,106.5 30.2,106.1 29.9,106.1</polygon>
      <circle>29.97,106.27 5</circle>
      <geocode><valueName>GB/T 2260</valueName><value>500117000000</value></geocode>
      <altitude>600</altitude>
      <ceiling>3000.5</ceiling>
    </area>
  </info>
</alert>
"""


def swap(old: str, new: str, text: str = ALERT) -> bytes:
    """The alert with one piece of its text replaced; the piece must be there."""
    assert old in text
    return text.replace(old, new, 1).encode()


def corpus_files() -> list[Path]:
    """Every file of the corpus; empty where there is none."""
    folder = CORPUS / "cap"
    return sorted(path for path in folder.glob("*") if path.suffix != ".tsv") if folder.is_dir() else []
