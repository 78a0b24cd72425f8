"""/docs: Swagger UI from the files of a package, so that nothing is loaded from elsewhere."""

import secrets
from html import escape

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Its addresses are relative, so that it works behind any path.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/files/swagger-ui.css">
<title>{title}</title>
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/files/swagger-ui-bundle.js"></script>
<script nonce="{nonce}">
SwaggerUIBundle({{
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
  tryItOutEnabled: true, displayRequestDuration: true,
}});
</script>
</body>
</html>
"""


def add_routes(router: APIRouter, *, title: str) -> None:
    # Its files alone: they follow Swagger UI's releases.
    router.mount("/docs/files", StaticFiles(packages=[("fastapi_swagger", "resources")]))

    @router.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        nonce = secrets.token_urlsafe(16)
        return HTMLResponse(
            PAGE.format(title=escape(title), nonce=nonce),
            headers={"Content-Security-Policy": POLICY.format(nonce=nonce), "Cache-Control": "no-store"},
        )
