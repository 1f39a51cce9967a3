"""An app that answers the readiness check with a server error."""


async def app(scope, receive, send):
    """Answer 500, whatever it was."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 500, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})
