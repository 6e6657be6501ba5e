"""What a function sees of a request, under FastAPI's name."""

from adapters.functions.request import Request

__all__ = ["Request"]
