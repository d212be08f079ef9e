"""What alerts come wrapped in: Atom, RSS, EDXL-DE and plain lists are unpacked, each alert's own bytes cut out."""

from __future__ import annotations

from broker.cap.wrapping.items import Link as Link
from broker.cap.wrapping.items import Unwrapped as Unwrapped
from broker.cap.wrapping.items import Wrapped as Wrapped
from broker.cap.wrapping.rules import RULES as RULES
from broker.cap.wrapping.unwrap import FEED_LIMITS as FEED_LIMITS
from broker.cap.wrapping.unwrap import unwrap as unwrap
