"""The ground under every warning: divisions, their geometry, shapes on the map and the national event codes."""
