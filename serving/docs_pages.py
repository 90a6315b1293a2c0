"""``/docs`` and ``/redoc``: the pages and all that they load, from the app itself.

Belongs here: the two pages and their scripts. Keep out: what they describe (``openapi.json``).
The framework's own pages load their scripts from another host: blank where it is not reached.
"""

import base64
import hashlib
import re
from typing import Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

DOCS: Final = "/docs"
REDOC: Final = "/redoc"

# Taken for its files alone: its own door replaces functions of FastAPI for the whole process
_PACKAGE: Final = "fastapi_standalone_docs"
_INLINE: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_POLICY: Final = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; "  # both pages write styles as they run
    "worker-src blob:; "  # ReDoc's search
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_NO_VALIDATOR: Final = {"validatorUrl": None}  # else a page asks swagger.io about our description


def install(app: FastAPI) -> None:
    """Add both pages to ``app``, which must have none of its own, and the files that they load."""
    app.add_route(DOCS, _swagger_ui, include_in_schema=False)
    app.add_route(REDOC, _redoc, include_in_schema=False)
    # below its page each: ReDoc looks for its logo there
    for page, folder in ((DOCS, "swagger"), (REDOC, "redoc")):
        app.mount(
            page,
            StaticFiles(packages=[(_PACKAGE, f"static/{folder}"), (_PACKAGE, "static/fastapi")]),
        )


async def _swagger_ui(request: Request) -> HTMLResponse:
    root = _root(request)
    page = get_swagger_ui_html(
        openapi_url=f"{root}{request.app.openapi_url}",
        title=f"{request.app.title}: Swagger UI",
        swagger_js_url=f"{root}{DOCS}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{DOCS}/swagger-ui.css",
        swagger_favicon_url=f"{root}{DOCS}/favicon.png",
        swagger_ui_parameters=_NO_VALIDATOR,
    )
    return _restricted(page)


async def _redoc(request: Request) -> HTMLResponse:
    root = _root(request)
    page = get_redoc_html(
        openapi_url=f"{root}{request.app.openapi_url}",
        title=f"{request.app.title}: ReDoc",
        redoc_js_url=f"{root}{REDOC}/redoc.standalone.js",
        redoc_favicon_url=f"{root}{REDOC}/favicon.png",
        with_google_fonts=False,
    )
    return _restricted(page)


def _restricted(page: HTMLResponse) -> HTMLResponse:
    """Return a page that may load and ask nothing but the app, and run no script but its own."""
    scripts = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
        for script in _INLINE.findall(bytes(page.body))
    )
    page.headers["Content-Security-Policy"] = f"{_POLICY}; script-src 'self' {scripts}".rstrip()
    return page


def _root(request: Request) -> str:
    """Return the path that a proxy has taken off before it asked us."""
    return str(request.scope.get("root_path", "")).rstrip("/")
