"""Errors in the form the OpenAI API gives them, so that its clients raise what their users expect."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException


class ApiError(HTTPException):
    """An answer other than 200.

    Args:
        status: HTTP status.
        message: what is wrong and what to do, without anything of the request's content.
        code: machine-readable reason, as OpenAI names it where there is a name.
        param: the parameter that is wrong.
        retry_after_seconds: when it is worth trying again.
    """

    def __init__(
        self, status: int, message: str, code: str, *, param: str | None = None, retry_after_seconds: int | None = None
    ) -> None:
        headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
        super().__init__(status, message, headers)
        self.status, self.message, self.code, self.param = status, message, code, param

    def body(self) -> dict[str, Any]:
        """The error object."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), status_code=self.status, headers=self.headers)


def handle_errors(app: FastAPI) -> None:
    """Have every error of the application answered in this form."""

    @app.exception_handler(ApiError)
    async def ours(_request: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return invalid_request(error.errors()[0]).response()

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        code = "not_found" if error.status_code == 404 else "http_error"
        return ApiError(error.status_code, str(error.detail), code).response()

    @app.exception_handler(Exception)
    async def unexpected(_request: Request, _error: Exception) -> JSONResponse:
        return ApiError(500, "an error in the gateway; its log has the details", "internal_error").response()


def invalid_request(problem: Any) -> ApiError:
    """The error for what pydantic found first. The request's content is not repeated."""
    param = ".".join(str(part) for part in problem["loc"] if part != "body") or None
    if problem["type"] == "extra_forbidden":
        message = f"Unsupported parameter: '{param}' has no effect here, so it is refused instead of ignored."
        return ApiError(400, message, "unsupported_parameter", param=param)
    where = f" for '{param}'" if param else ""
    return ApiError(400, f"Invalid value{where}: {problem['msg']}", "invalid_value", param=param)
