"""The face for people: sign-in, the live page, and the stream that keeps it live."""
