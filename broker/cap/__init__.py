"""CAP 1.2: the message as a model, its XML and JSON forms, lint that lists everything, and segments."""

from __future__ import annotations

from broker.cap.catalogue import RULES as RULES
from broker.cap.document import Reading as Reading
from broker.cap.document import read as read
from broker.cap.findings import Finding as Finding
from broker.cap.findings import Grade as Grade
from broker.cap.findings import Posture as Posture
from broker.cap.jsonform import parse_json as parse_json
from broker.cap.jsonform import to_json as to_json
from broker.cap.level import Level as Level
from broker.cap.limits import Limits as Limits
from broker.cap.lint import lint as lint
from broker.cap.model import Alert as Alert
from broker.cap.model import Area as Area
from broker.cap.model import Info as Info
from broker.cap.segments import Segment as Segment
from broker.cap.segments import segments as segments
from broker.cap.xml import parse_xml as parse_xml
from broker.cap.xml import to_xml as to_xml
