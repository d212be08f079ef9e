"""Prometheus metrics: labels are closed enums, every combination exists at 0 from the start."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from broker.types import CHANNELS, Lane

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
OUTCOMES = ("sent", "unknown", "failed", "withheld", "expired")
REFUSALS = ("media_type", "too_large", "invalid", "unauthenticated", "not_allowed", "conflict")


class Metrics:
    """All metrics of one process, in a registry of its own so that tests can run several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.accepted = Counter("fenghuo_alerts_accepted", "Alerts accepted", ["level"], registry=self.registry)
        self.refused = Counter("fenghuo_alerts_refused", "Posts refused", ["reason"], registry=self.registry)
        self.planned = Counter(
            "fenghuo_recipients_planned", "Recipients planned", ["channel"], registry=self.registry
        )
        self.published = Counter(
            "fenghuo_batches_published", "Batches published", ["channel", "lane"], registry=self.registry
        )
        self.confirm_seconds = Histogram(
            "fenghuo_publish_confirm_seconds", "Publish to confirm", registry=self.registry, buckets=_SECONDS
        )
        self.deliveries = Counter(
            "fenghuo_deliveries", "Outcomes of submission", ["channel", "outcome"], registry=self.registry
        )
        self.evidence = Counter(
            "fenghuo_evidence", "Recipients of whom later evidence came", ["channel"], registry=self.registry
        )
        self.dwell_seconds = Histogram(
            "fenghuo_dwell_seconds",
            "Planning to first window (waiting in queues)",
            ["channel", "lane"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.send_seconds = Histogram(
            "fenghuo_send_seconds",
            "One window at the far end",
            ["channel"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.retries = Counter(
            "fenghuo_retries", "Recipients given another attempt", ["channel"], registry=self.registry
        )
        self.resumed = Counter(
            "fenghuo_windows_resumed", "Windows in doubt sent again", ["channel"], registry=self.registry
        )
        self.merged = Counter("fenghuo_receipts_merged", "Receipts merged into the ledger", registry=self.registry)
        self.merge_seconds = Histogram(
            "fenghuo_merge_seconds", "One merge of the tracker", registry=self.registry, buckets=_SECONDS
        )
        self.parked = Counter("fenghuo_parked", "Messages parked", registry=self.registry)
        self.connected = Gauge("fenghuo_transport_connected", "Transport connected", registry=self.registry)
        self.blocked = Gauge("fenghuo_transport_blocked", "Transport blocked", registry=self.registry)
        self.queue_depth = Gauge("fenghuo_queue_depth", "Messages waiting", ["queue"], registry=self.registry)
        self.healthy = Gauge("fenghuo_channel_healthy", "Far end reachable", ["channel"], registry=self.registry)
        self.viewers = Gauge("fenghuo_dashboard_viewers", "Open live streams", registry=self.registry)
        self.certificate_expires = Gauge(
            "fenghuo_certificate_expires_timestamp_seconds",
            "When a certificate that signatures are made or verified with ends",
            ["department", "fingerprint"],
            registry=self.registry,
        )
        for level in ("Red", "Orange", "Yellow", "Blue", "none"):
            self.accepted.labels(level)
        for refusal in REFUSALS:
            self.refused.labels(refusal)
        for channel in CHANNELS:
            self.planned.labels(channel)
            self.evidence.labels(channel)
            self.send_seconds.labels(channel)
            self.retries.labels(channel)
            self.resumed.labels(channel)
            for lane in Lane:
                self.published.labels(channel, lane)
                self.dwell_seconds.labels(channel, lane)
            for outcome in OUTCOMES:
                self.deliveries.labels(channel, outcome)

    def render(self) -> bytes:
        """The text that Prometheus scrapes: ours, then what channels count in the default registry."""
        return generate_latest(self.registry) + generate_latest(REGISTRY)
