"""The last mile: one folder per channel, each with its settings and its simulator."""
