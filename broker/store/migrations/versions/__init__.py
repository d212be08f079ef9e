"""One module per step, oldest first by `down_revision`."""
