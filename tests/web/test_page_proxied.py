"""The page behind a proxy that serves it without a slash at the end of its path."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.browser import Browser, needs_browser
from unitsync.testing import throwaway_coordinator
from web.conftest import Web, serving

pytestmark = [needs_browser, pytest.mark.timeout(120)]


@contextmanager
def proxy(web: Web) -> Iterator[str]:
    """It sends what is asked at /p and below it to *web*. Where it listens."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            below = self.path == "/p" or self.path.startswith("/p/")
            if not below or self.path.startswith("/p/changes"):
                self.send_error(404)
                return
            answer = web.ask(self.path[3:])
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/p"
        finally:
            server.shutdown()
            thread.join()


def test_it_goes_to_where_its_addresses_are_right(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with throwaway_coordinator() as address, serving(address, "--no-token") as web:
        browser = Browser(tmp_path_factory.mktemp("chromium"))
        try:
            with proxy(web) as url, browser.page() as page:
                page.open(f"{url}#against=x")
                page.until("location.pathname === '/p/' && location.hash === '#against=x'")
                assert page.value("fetch('startup.json').then((answer) => answer.status)") == 200
        finally:
            browser.close()
