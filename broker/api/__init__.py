"""The HTTP face for departments: post alerts, follow them, scrape metrics."""
