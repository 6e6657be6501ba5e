"""Content that is too large for an event, kept beside the log and put back where it is read."""
