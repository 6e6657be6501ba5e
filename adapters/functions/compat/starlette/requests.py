"""What a function sees of a request."""

from adapters.functions.request import Request

__all__ = ["Request"]
