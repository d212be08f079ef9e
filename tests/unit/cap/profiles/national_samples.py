"""A document of the national format that uses every element, as text to be broken."""

from __future__ import annotations

from datetime import UTC, datetime

SENDER = "50000041600000"
NOW = datetime(2026, 8, 14, 2, 0, tzinfo=UTC)

DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<alert>
  <identifier>50000041600000_20260814093705</identifier>
  <sender>重庆市气象台</sender>
  <senderCode>50000041600000</senderCode>
  <phone>023-00000000</phone>
  <sendTime>2026-08-14 09:37:05+08:00</sendTime>
  <status>Actual</status><msgType>Update</msgType><scope>Public</scope>
  <code>
    <method>
      <methodName>SMS</methodName>
      <message/>
      <audienceGrp>duty,village</audienceGrp>
      <audenceprt>13900000000,13900000001</audenceprt>
    </method>
    <method><methodName>LED</methodName><message>高温橙色预警</message></method>
  </code>
  <secClassification>None</secClassification>
  <note>升级</note>
  <references>50000041600000_20260814080000</references>
  <info>
    <language>zh-CN</language>
    <eventType>11B09</eventType>
    <urgency>Unknown</urgency>
    <severity>Orange</severity>
    <certainty>Unknown</certainty>
    <effective>2026-08-14 09:30:00+08:00</effective>
    <onset>2026-08-14 10:00:00+08:00</onset>
    <expires>2026-08-15 09:30:00+08:00</expires>
    <senderName>张三</senderName>
    <headline>重庆市气象台发布高温橙色预警</headline>
    <description>预计最高气温将升至37℃以上。</description>
    <instruction>请减少户外活动。</instruction>
    <web>https://example.org/w</web>
    <resource>
      <resourceDesc>50000041600000_20260814093705_11B09_ORANGE_UPDATE_O_01.jpg</resourceDesc>
      <size>1024</size>
      <digest>AAF4C61ddcc5e8a2dabede0f3b482cd9aea9434d</digest>
    </resource>
    <area>
      <areaDesc>合川区、北碚区</areaDesc>
      <polygon>29.9,106.1 29.9,106.5 30.2,106.5 30.2,106.1 29.9,106.1</polygon>
      <geocode>500117000000,500109</geocode>
    </area>
  </info>
</alert>
"""


def changed(old: str, new: str, text: str = DOCUMENT) -> str:
    """The document with the first occurrence of a piece of its text replaced; the piece must be there."""
    assert old in text
    return text.replace(old, new, 1)
