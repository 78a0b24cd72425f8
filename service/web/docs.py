"""/docs: Swagger UI from the files of a package, so that nothing is loaded from elsewhere."""

import secrets
from html import escape
from importlib import resources

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from service.web.problems import Problem, ProblemType

FILES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
PACKAGE = "fastapi_swagger.resources"  # its files alone: they follow Swagger UI's releases
A_DAY = {"Cache-Control": "max-age=86400", "X-Content-Type-Options": "nosniff"}

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
<link rel="stylesheet" href="docs/swagger-ui.css">
<title>{title}</title>
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
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
    folder = resources.files(PACKAGE)

    @router.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        nonce = secrets.token_urlsafe(16)
        return HTMLResponse(
            PAGE.format(title=escape(title), nonce=nonce),
            headers={"Content-Security-Policy": POLICY.format(nonce=nonce), "Cache-Control": "no-store"},
        )

    @router.get("/docs/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in FILES:
            raise Problem(ProblemType.NOT_FOUND)
        return Response(folder.joinpath(name).read_bytes(), media_type=FILES[name], headers=A_DAY)
