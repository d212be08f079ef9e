"""The act that lets an accepted alert go out, and the one table of an alert's states."""
