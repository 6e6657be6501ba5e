"""Of FastAPI: the names that functions import for annotations, and the exception that they raise."""

from types import SimpleNamespace
from typing import Any

from adapters.functions.compat.background import BackgroundTasks
from adapters.functions.compat.responses import Response
from adapters.functions.request import Request

__all__ = ["BackgroundTasks", "Depends", "HTTPException", "Request", "Response", "UploadFile", "status"]


class HTTPException(Exception):
    def __init__(self, status_code: int, detail: Any = None, headers: dict[str, str] | None = None) -> None:
        self.status_code, self.detail, self.headers = status_code, detail, headers
        super().__init__(str(detail if detail is not None else status_code))


class UploadFile:
    """For annotations: this server gives functions no uploads."""

    def __init__(self, file: Any = None, *, filename: str | None = None, **_: Any) -> None:
        self.file, self.filename = file, filename


def Depends(dependency: Any = None, **_: Any) -> Any:
    return dependency


status = SimpleNamespace(
    HTTP_200_OK=200,
    HTTP_201_CREATED=201,
    HTTP_400_BAD_REQUEST=400,
    HTTP_401_UNAUTHORIZED=401,
    HTTP_403_FORBIDDEN=403,
    HTTP_404_NOT_FOUND=404,
    HTTP_429_TOO_MANY_REQUESTS=429,
    HTTP_500_INTERNAL_SERVER_ERROR=500,
    HTTP_503_SERVICE_UNAVAILABLE=503,
)
