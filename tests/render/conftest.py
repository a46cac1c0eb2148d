"""A browser for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.browser import Browser, Page


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("chromium"))
    yield started
    started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.page() as opened:
        yield opened
        assert opened.complaints == []
        assert [url for url in opened.loaded if not url.startswith(("file:", "data:"))] == []
