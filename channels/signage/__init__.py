"""The signage channel: screens fetch and follow a playlist of what is in force, and report what they show."""
