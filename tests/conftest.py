"""What all tests share: no test fails for being slow on a busy machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("fenghuo", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fenghuo")
