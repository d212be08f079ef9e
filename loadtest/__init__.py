"""Load scenarios that anyone can run, each with its control arm in the same run, and the report they make."""
