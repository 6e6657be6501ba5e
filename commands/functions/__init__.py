"""Functions that others wrote: the port to them, their sources and settings, and the actions that a person runs."""
