"""Who is reached: the registry's import and index, the ground of an area, admission by status, policies."""
