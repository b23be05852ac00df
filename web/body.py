"""Bodies of requests, read as far as they may go."""

from starlette.requests import Request


async def read_body(request: Request, largest: int) -> bytes | None:
    """A request's body, None if it is larger than so many bytes."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > largest:
            return None
    return body
