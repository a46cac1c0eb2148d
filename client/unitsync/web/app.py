"""The paths, and what is answered there. Each answer goes through Access first."""

from __future__ import annotations

import asyncio
import traceback
from collections import defaultdict
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from unitsync import AsyncClient, errors
from unitsync.link.endpoint import Endpoint
from unitsync.startup.render.html import live_page, live_policy
from unitsync.web.access import Access, Headers, is_from_elsewhere
from unitsync.web.answers import Answer, answer_of
from unitsync.web.changes import Changes
from unitsync.web.settings import Settings
from unitsync.web.startups import Startups, UnknownStartup
from unitsync.web.turns import Turns
from unitsync.web.units import unit_now

_THREADS: Final = 4
"""For what does not take CPU."""
_STATUS: Final[dict[type[Exception], int]] = {
    errors.NotPermitted: 403,
    UnknownStartup: 404,
    errors.UnknownUnit: 404,
    errors.UsageError: 400,
    errors.LimitReached: 503,
    errors.Unavailable: 503,
}
"""The first that fits; otherwise it is a defect, or the coordinator's."""
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_NOTHING_ALLOWED: Final = "default-src 'none'; base-uri 'none'; form-action 'none'"
_GO_ON: Final = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>unitsync</title>
<meta http-equiv="refresh" content="0; url=./"><p><a href="./">Go on to the startup</a></p></html>
"""
"""For who comes by a link on another site: a browser sends no cookie then, but it does so when our
own page leads on."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
T = TypeVar("T")


class App:
    """An ASGI application. ``run`` beside it, and ``end`` before it ends."""

    def __init__(self, settings: Settings, access: Access, place: Endpoint) -> None:
        self._settings = settings
        self._access = access
        self._place = place
        self._page = live_page()
        framed_by = " ".join(("'self'", *settings.framed_by))
        self._policy = f"{live_policy()}; frame-ancestors {framed_by}"
        self._startups = Startups(place.address)
        self._at_work = ThreadPoolExecutor(1)
        self._asking = ThreadPoolExecutor(_THREADS)
        self._present = Turns(partial(self._work, self._startups.picture, ""))
        self._list = Turns(partial(self._work, self._startups.list))
        self._changes: Changes | None = None
        self._paths: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "": self._serve_page,
            "startup.json": self._serve_startup,
            "startups.json": self._serve_startups,
            "compare.json": self._serve_comparison,
            "unit.json": self._serve_unit,
            "changes": self._serve_changes,
        }

    async def run(self) -> None:
        """Never returns."""
        async with AsyncClient(self._place.address, autostart=False, startup="") as client:
            self._changes = Changes(client)
            await self._changes.run()

    def end(self) -> None:
        """End what goes on, such as the streams of events."""
        if self._changes is not None:
            self._changes.end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._respond(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Content-Security-Policy", _NOTHING_ALLOWED)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        path = self._path(request)
        try:
            self._access.check(_headers(request), is_page=path == "")
            if request.method not in ("GET", "HEAD"):
                return _error("there is only GET", "nothing can be changed here", 405, path)
            if path is None:
                return self._elsewhere(request)
            if path and not self._access.knows(_headers(request)):
                raise _unknown()
            return await self._paths[path](request)
        except errors.UnitsyncError as problem:
            status = next((n for kind, n in _STATUS.items() if isinstance(problem, kind)), 500)
            return _error(problem.message, problem.hint, status, path)
        except Exception as problem:
            traceback.print_exc()
            what = f"a defect of unitsync: {type(problem).__name__}"
            return _error(what, "more is on stderr of unitsync web", 500, path)

    def _path(self, request: Request) -> str | None:
        """The path below that of the page; None if there is no such thing."""
        path, prefix = request.scope["path"], self._settings.prefix
        if path.startswith(f"{prefix}/") and path[len(prefix) + 1 :] in self._paths:
            return str(path[len(prefix) + 1 :])
        return None

    def _elsewhere(self, request: Request) -> Response:
        path, prefix = request.scope["path"], self._settings.prefix
        if prefix and path == prefix:
            query = request.url.query
            name = prefix.rpartition("/")[2]
            return _redirect(f"{name}/{f'?{query}' if query else ''}")
        return _error(
            "there is nothing here",
            "the page is one level up, or, if a proxy sends its own path along: "
            "unitsync web --prefix PATH",
            404,
            None,
        )

    # --- the page -------------------------------------------------------------------------

    async def _serve_page(self, request: Request) -> Response:
        headers, token = _headers(request), request.query_params.get("token", "")
        response: Response
        if token:
            if not self._access.needs_token:  # an old link
                return _redirect("./")
            if not self._access.is_token(token):
                raise _unknown()
            response = _go_on() if is_from_elsewhere(headers) else _redirect("./")
            # Its path is, by default, that of the page as the browser sees it: also behind a proxy,
            # and then no other server behind it gets to see the cookie.
            response.set_cookie(
                self._access.cookie,
                token,
                path=None,
                secure=_is_https(headers),
                httponly=True,
                samesite="strict",
            )
            return response
        if not self._access.knows(headers):
            if is_from_elsewhere(headers):
                return _go_on()
            raise _unknown()
        policy = {"Content-Security-Policy": self._policy}
        return Response(self._page, headers=policy, media_type="text/html")

    # --- what it asks for -----------------------------------------------------------------

    async def _serve_startup(self, request: Request) -> Response:
        name = request.query_params.get("startup", "")
        if name:
            return _answered(request, await self._work(self._startups.picture, name))
        return _answered(request, await self._present.result())

    async def _serve_startups(self, request: Request) -> Response:
        return _answered(request, await self._list.result())

    async def _serve_comparison(self, request: Request) -> Response:
        name = request.query_params.get("startup", "")
        return _answered(request, await self._work(self._startups.compare, name))

    async def _serve_unit(self, request: Request) -> Response:
        name = request.query_params.get("name", "")
        startup = request.query_params.get("startup", "")
        if await self._ask(self._startups.goes_on, startup):
            fields = await self._ask(unit_now, self._place, name)
        else:
            fields = await self._work(self._startups.unit, startup, name)
        return _answered(request, answer_of(fields))

    async def _serve_changes(self, request: Request) -> Response:
        if self._changes is None:
            raise errors.Unavailable("it has not begun yet")
        kind = "text/event-stream"
        if request.method == "HEAD":
            return Response(media_type=kind)
        events = self._changes.stream(request.headers.get("last-event-id", ""))
        # nginx would wait for more of it
        return StreamingResponse(events, media_type=kind, headers={"X-Accel-Buffering": "no"})

    async def _work(self, what: Callable[..., T], *arguments: Any) -> T:
        """What takes CPU, one after the other."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._at_work, what, *arguments)

    async def _ask(self, what: Callable[..., T], *arguments: Any) -> T:
        """What takes none."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._asking, what, *arguments)


def _headers(request: Request) -> Headers:
    found: dict[str, list[str]] = defaultdict(list)
    for name, value in request.headers.items():
        found[name].append(value)
    return found


def _is_https(headers: Headers) -> bool:
    """Whether the first proxy says that the browser came by https."""
    schemes = ",".join(headers.get("x-forwarded-proto", ()))
    return schemes.partition(",")[0].strip().lower() == "https"


def _unknown() -> errors.NotPermitted:
    return errors.NotPermitted(
        "the token is missing, or is another one",
        hint="open the link that unitsync web has printed: then the browser remembers it",
    )


def _answered(request: Request, answer: Answer) -> Response:
    headers = {"Vary": "Accept-Encoding"}
    if answer.tag:
        headers |= {"ETag": answer.tag, "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == answer.tag:
            return Response(status_code=304, headers=headers)
    body = answer.body
    if answer.packed and "gzip" in request.headers.get("accept-encoding", ""):
        body = answer.packed
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type="application/json")


def _error(message: str, hint: str, status: int, path: str | None) -> Response:
    """For people if they ask for the page itself, for programs otherwise."""
    headers = {"Allow": "GET, HEAD"} if status == 405 else {}
    if path == "":
        text = f"{message}\n{hint}\n"
        return PlainTextResponse(text, status, headers)
    answer = answer_of({"error": message, "hint": hint})
    return Response(answer.body, status, headers, media_type="application/json")


def _redirect(to: str) -> Response:
    """*to* is relative: a proxy in between may have taken the beginning of the path away."""
    return Response(status_code=303, headers={"Location": to})


def _go_on() -> Response:
    return Response(_GO_ON, media_type="text/html")
