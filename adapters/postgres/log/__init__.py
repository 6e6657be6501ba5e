"""The log as it is read: its events, the epoch of their numbers, the bell, blobs, and ``steno verify``."""
