"""The app channel: installations follow a stream of server-sent events and report what became of it."""
