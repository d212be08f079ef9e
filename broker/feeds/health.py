"""How the feeds are doing, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from broker.feeds.pull import PullReport
from broker.store.outside_records import FeedRecord, ItemOutcome


class FeedMetrics:
    """Gauges and counters by feed; every configured feed is there from the start."""

    def __init__(self, registry: CollectorRegistry, names: Iterable[str] = ()) -> None:
        self.failures = Gauge("fenghuo_feed_failures", "Pulls in a row that failed", ["feed"], registry=registry)
        self.success = Gauge(
            "fenghuo_feed_success_timestamp_seconds",
            "When a pull last succeeded; 0 is never",
            ["feed"],
            registry=registry,
        )
        self.items = Counter("fenghuo_feed_items", "Entries looked at", ["feed", "outcome"], registry=registry)
        for name in names:
            self.failures.labels(name)
            self.success.labels(name)
            for outcome in ItemOutcome:
                self.items.labels(name, outcome)

    def show(self, feed: FeedRecord) -> None:
        """Bring the gauges of a feed up to what the store knows."""
        self.failures.labels(feed.name).set(feed.failures)
        self.success.labels(feed.name).set((feed.succeeded or 0) / 1000)

    def count(self, report: PullReport) -> None:
        """Count what a pull looked at."""
        for item in report.items:
            self.items.labels(item.feed, item.outcome).inc()
