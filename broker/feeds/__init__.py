"""Feeds: what the public may read of our alerts, and what others publish, pulled for our people to look at."""
