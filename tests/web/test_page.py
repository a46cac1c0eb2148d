"""The page of ``unitsync web`` in Chromium, with a real coordinator and real verbs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.axe import findings, needs_axe
from support.browser import Browser, Page, needs_browser
from support.coordinators import PATIENCE_S, Coordinator, clean_environment
from unitsync.names.unit_names import NAME_BYTES_MAX

pytestmark = [needs_browser, pytest.mark.timeout(120)]

UNITSYNC = str(Path(sys.executable).with_name("unitsync"))
TOKEN = "t" * 20
HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img/src=x/onerror=alert(1)>",
    "{{x}}${alert(1)}&lt;b&gt;",
    "__proto__",
    "é" * (NAME_BYTES_MAX // 2),
    "x" * NAME_BYTES_MAX,
)
LOST = "Failed to load resource"
"""What Chromium says by itself when a request fails."""


class Workspace:
    """A coordinator, a server with the page, and verbs."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="us-", dir="/tmp"))
        self.coordinator = Coordinator(self.folder)
        self._env = {"UNITSYNC_ENDPOINT": self.coordinator.address, "UNITSYNC_WEB_TOKEN": TOKEN}
        self._running: list[subprocess.Popen[bytes]] = []
        self._server: subprocess.Popen[bytes] | None = None
        self.link = ""
        self.coordinator.start()
        self.serve()

    def serve(self, token: str = TOKEN) -> None:
        """On the same port as before, if there was one."""
        place = self.link.partition("//")[2].partition("/")[0] or "127.0.0.1:0"
        self._server = self.begin("web", "--listen", place, UNITSYNC_WEB_TOKEN=token)
        assert self._server.stdout is not None
        self.link = self._server.stdout.readline().decode().strip()

    def stop_serving(self) -> None:
        assert self._server is not None
        self._server.terminate()
        self._server.communicate(timeout=PATIENCE_S)

    def begin(self, *words: str, **env: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [UNITSYNC, *words],
            env=clean_environment() | self._env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None,
            cwd=self.folder,
        )
        self._running.append(process)
        return process

    def __call__(self, *words: str, status: int = 0) -> None:
        process = self.begin(*words)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == status, words

    def forget(self) -> None:
        """End what runs but the server, and begin another startup."""
        for process in self._running:
            if process is not self._server:
                process.kill()
                process.communicate()
        self._running = [process for process in self._running if process is self._server]
        self("reset", "--all", "--force")

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.communicate()
        self.coordinator.kill()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("chromium"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    made = Workspace()
    yield made
    made.close()


@pytest.fixture
def place(workspace: Workspace) -> Iterator[Workspace]:
    yield workspace
    workspace.forget()


@pytest.fixture
def own() -> Iterator[Workspace]:
    """For what ends the coordinator or the server."""
    made = Workspace()
    yield made
    made.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A console without a word, and nothing loaded from elsewhere."""
    with browser.page() as opened:
        yield opened
        assert opened.complaints == []
        hosts = {url.split("/")[2].split(":")[0] for url in opened.loaded if url[:5] != "data:"}
        assert hosts == {"127.0.0.1"}


def forgive(page: Page) -> None:
    page.complaints[:] = [each for each in page.complaints if LOST not in each]


def text(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)})?.textContent"


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.value(
        f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)"
    )
    return found


DETAILS = "[...document.querySelectorAll('#details dd')].map(e => e.textContent).join()"
"""An expression: what the page says of the chosen unit."""


def number(page: Page, expression: str) -> float:
    return float(page.value(expression))


def row(name: str) -> str:
    return f".row[data-name={json.dumps(name)}]"


def label(name: str) -> str:
    """An expression: what stands behind the bar of that unit; null if it has no row."""
    return f"document.querySelector({json.dumps(row(name) + ' .label')})?.textContent"


def opened(page: Page, link: str) -> None:
    page.open(link)
    page.until(text("#live") + " === 'live' && document.querySelector('.row')")


def chosen(page: Page, name: str) -> None:
    place = f"document.querySelector({json.dumps(row(name))})"
    page.value(f"{place}.scrollIntoView({{block: 'center'}})")
    page.click(row(name) + " .name")
    page.until(f"document.querySelector('#details h2')?.textContent === {json.dumps(name)}")


def failing(place: Workspace) -> None:
    """clone has failed, ide is skipped, build waits for deps, which runs."""
    place("want", "ide", "clone")
    place("want", "build", "deps")
    place("start", "clone")
    place("fail", "clone", "--reason", "exit status 128")
    place("start", "deps")
    place.begin("start", "build")


def test_it_goes_on_by_itself(page: Page, own: Workspace) -> None:
    """From nothing to the end, without a reload."""
    page.open(own.link)
    page.until(text("#none") + " === 'No unit is registered yet.'")
    assert page.value("document.getElementById('none').hidden") is False
    own("want", "ide", "clone")
    own("start", "clone")
    page.until(f"{label('clone')} && document.title.endsWith('so far')")
    before = page.value(text("#title"))
    page.until(f"{text('#title')} !== {json.dumps(before)}")  # nothing has happened
    waits = own.begin("start", "ide")
    page.until(f"{label('ide')} === 'waiting'")
    chosen(page, "ide")
    assert texts(page, "#details dt")[:2] == ["state", "waits for"]
    assert texts(page, "#details dd")[1] == "clone: not met"
    page.until(f"{text('#details .why pre')}.includes('clone')")
    own("fail", "clone", "--reason", "exit status 128")
    waits.communicate(timeout=PATIENCE_S)
    page.until(f"{label('clone')} === 'failed' && {label('ide')} === 'skipped'")
    page.until("!document.title.endsWith('so far')")
    assert texts(page, "#summary") == ["2 units: 1 failed, 1 skipped"]
    assert "skipped" in texts(page, "#details dd")


def test_a_redraw_keeps_what_the_reader_did(page: Page, place: Workspace) -> None:
    failing(place)
    opened(page, place.link)
    chosen(page, "deps")
    page.value("document.getElementById('rows').focus()")
    page.press("+", "+", "+", "/", *"de")
    page.press("Enter")
    page.value("document.querySelector('.history').open = true")
    page.value("document.getElementById('scroll').scrollLeft = 40")
    seen = """(() => {
        const rows = document.getElementById("rows"), track = document.querySelector(".track");
        return [
            document.querySelector("#details h2").textContent, document.activeElement.id,
            document.getElementById("filter").value,
            document.querySelector(".history").open,
            document.getElementById(rows.getAttribute("aria-activedescendant"))
                .querySelector(".name").textContent,
            document.getElementById("scroll").scrollLeft,
            [...document.querySelectorAll(".row:not([hidden]) .name")].map((e) => e.textContent),
        ];
    })()"""
    before = page.value(seen)
    assert before == ["deps", "rows", "de", True, "deps", 40, ["ide", "deps"]]
    bar = f"document.querySelector({json.dumps(row('deps') + ' .bar')}).style.width"
    wide = f"document.querySelector({json.dumps(row('deps') + ' .bar')}).clientWidth"
    scale = "Number.parseFloat(document.getElementById('sheet').style.getPropertyValue('--second'))"
    drawn, old, second = page.value(bar), page.value(wide), page.value(scale)
    place("start", "a-first-one")
    place("complete", "a-first-one")
    page.until(f"{bar} !== {json.dumps(drawn)} && {label('a-first-one')}")
    assert page.value(seen) == before
    assert page.value(wide) > old
    assert page.value(scale) == pytest.approx(second, rel=0.01)
    assert page.value("document.getElementById('details').ariaLive") == "off"
    scroll = "document.getElementById('scroll')"
    right = f"{scroll}.scrollWidth - {scroll}.clientWidth - {scroll}.scrollLeft"
    page.value(f"{scroll}.scrollLeft = {scroll}.scrollWidth")
    drawn = page.value(bar)
    page.until(f"{bar} !== {json.dumps(drawn)}")
    assert page.value(right) < 2
    page.value("document.querySelector('#details .unit').focus()")
    drawn = page.value(bar)
    page.until(f"{bar} !== {json.dumps(drawn)}")
    assert page.value("document.activeElement.textContent") == "build"
    page.value("document.getElementById('rows').focus()")
    before = page.value(seen)
    place("complete", "deps")
    page.until(
        f"{label('deps')} && document.querySelector('#details dd').textContent"
        ".startsWith('completed')"
    )
    after = page.value(seen)
    assert after[:5] + after[6:] == before[:5] + before[6:]


def test_what_a_unit_says(page: Page, place: Workspace) -> None:
    """Why, note, history and log of the chosen unit stay up to date; the log stays at its end until
    the reader leaves that."""
    pipe = place.folder / "lines"
    os.mkfifo(pipe)
    place("want", "build", "clone")
    place.begin("run", "clone", "--log", "--", "cat", str(pipe))
    with open(pipe, "w") as lines:

        def write(first: int, last: int) -> None:
            lines.writelines(f"line {number}\n" for number in range(first, last + 1))
            lines.flush()

        write(1, 99)
        opened(page, place.link)
        chosen(page, "clone")
        log = "document.querySelector('#details .log pre')"
        at_end = f"(e => Math.abs(e.scrollTop + e.clientHeight - e.scrollHeight) < 2)({log})"
        page.until(f"{log}?.textContent.endsWith('line 99')")
        assert texts(page, "#details .log summary")[0].startswith(f"Log: {place.folder}")
        place("note", "clone", "half of it")
        page.until(f"{DETAILS}.includes('half of it')")
        write(100, 120)
        page.until(f"{log}.textContent.endsWith('line 120')")
        assert page.value(at_end) is True
        page.value(f"{log}.scrollTop = 0")
        write(121, 130)
        place("note", "clone", "more of it")
        page.until(f"{DETAILS}.includes('more of it') && !{DETAILS}.includes('half of it')")
        page.until(f"{text('#details .why pre')}.includes('more of it')")  # it came with the log
        assert page.value(f"{log}.textContent").endswith("line 120")
        page.value(f"{log}.scrollTop = {log}.scrollHeight")
        page.until(f"{log}.textContent.endsWith('line 130')")
    page.until(f"{DETAILS}.startsWith('completed')")
    page.until(f"{text('#details .history pre')}.includes('completed')")
    chosen(page, "build")
    page.until(f"!{text('#details .more')}.includes('line 130')")
    page.until(f"{text('#details .why pre')}.includes('build')")


def test_earlier_startups(page: Page, place: Workspace) -> None:
    """By the list, by a link, and back; compared with the latest."""
    place("start", "lint")
    place("complete", "lint")
    failing(place)
    place("reset", "--all", "--force")
    place("start", "clone")
    place("complete", "clone")
    opened(page, place.link)
    options = "document.querySelectorAll('#startup option')"
    page.until(f"{options}.length >= 2")
    earlier = page.value(f"{options}[1].value")
    assert texts(page, "#startup option")[0] == "the latest"
    assert texts(page, "#startup option")[1].endswith("1 failed, 1 skipped")
    page.value(
        f"""(() => {{
            const select = document.getElementById("startup");
            select.value = {json.dumps(earlier)};
            select.dispatchEvent(new Event("change"));
        }})()"""
    )
    page.until(f"{label('clone')} === 'failed'")
    assert texts(page, "#live") == ["an earlier startup"]
    chosen(page, "clone")
    page.until(f"{text('#details .history pre')}.includes('failed')")
    hidden = "[...document.querySelectorAll('#details .fold[hidden] summary')]"
    assert page.value(f"{hidden}.map(e => e.textContent)") == ["Why", "Log"]
    page.value("history.back()")
    page.until(f"{label('clone')} !== 'failed' && {text('#live')} === 'live'")
    assert texts(page, "#details h2") == ["clone"]
    page.open("about:blank")
    page.open(f"{place.link.partition('?')[0]}#startup={earlier}&against={earlier}")
    page.until(f"{label('clone')} === 'failed'")
    page.until(f"document.getElementById('startup').value === {json.dumps(earlier)}")
    page.until("!document.getElementById('comparison').hidden")
    assert "gone" in texts(page, "#comparison td")
    assert {"recovered", "lint"} <= set(texts(page, "#comparison td"))


def test_an_earlier_startup_that_is_not_kept(page: Page, place: Workspace) -> None:
    place("start", "clone")
    opened(page, place.link)
    page.value("location.hash = 'startup=nonsense'")
    page.until(f"{text('#live')}.startsWith('there is no startup nonsense')")
    assert texts(page, ".row .name") == ["clone"]
    page.value("location.hash = ''")
    page.until(f"{text('#live')} === 'live'")
    forgive(page)


def test_a_new_startup_in_the_middle(page: Page, place: Workspace) -> None:
    failing(place)
    opened(page, place.link)
    chosen(page, "deps")
    page.click("#in")
    fits = "document.getElementById('fit').ariaDisabled"
    assert page.value(fits) == "false"
    newest = "document.querySelector('#startup option:nth-child(2)')?.value"
    before = page.value(newest)
    place("reset", "--all", "--force")
    place("start", "deps")
    page.until("document.querySelectorAll('.row').length === 1")
    assert page.value(fits) == "true"
    page.until(f"{newest} !== {json.dumps(before)}")
    assert texts(page, "#details h2") == ["deps"]
    page.click("#only")
    place("reset", "--all", "--force")
    place("start", "another")
    place("start", "one-more")
    page.until(label("one-more"))
    assert page.value("document.getElementById('details').hidden") is True
    assert len(texts(page, ".row:not([hidden])")) == 2


def test_a_coordinator_that_is_killed_comes_back(page: Page, own: Workspace) -> None:
    own("start", "clone")  # nothing that waits: it would start another one
    opened(page, own.link)
    own.coordinator.kill()
    page.until(f"{text('#live')} === 'no coordinator answers'")
    page.until(f"/^; the last picture is from [0-9]+ s ago$/.test({text('#age')})")
    seconds = "Number(document.getElementById('age').textContent.match(/[0-9]+/)[0])"
    page.until(f"{seconds} >= {number(page, seconds) + 2}")
    assert texts(page, ".row .name") == ["clone"]
    own.coordinator.start()
    own("start", "afterwards")
    page.until(f"{label('afterwards')} && {text('#live')} === 'live'")
    assert texts(page, "#age") == [""]
    forgive(page)


def test_a_lost_connection(page: Page, own: Workspace) -> None:
    failing(own)
    opened(page, own.link)
    own.stop_serving()
    page.until(f"{text('#live')} === 'connection lost; trying again'")
    page.until(f"{text('#age')} !== ''")
    own("start", "meanwhile")
    assert len(texts(page, ".row")) == 4
    own.serve()
    page.until(f"{label('meanwhile')} && {text('#live')} === 'live'")
    own.stop_serving()
    page.until(f"{text('#live')} === 'connection lost; trying again'")
    own.serve()  # nothing has happened, of which it would be told
    page.until(f"{label('meanwhile')} && {text('#live')} === 'live'")
    own.stop_serving()
    page.until(f"{text('#live')} === 'connection lost; trying again'")
    own.serve(token="another-token-than-before")
    page.until(f"{text('#live')}.startsWith('the token is missing, or is another one')")
    own.stop_serving()
    own.serve()
    page.until(f"{text('#live')} === 'live'")
    forgive(page)


def test_what_happens_while_it_asks(page: Page, place: Workspace) -> None:
    """The answer is too old by then, and nothing else happens that would make it ask again."""
    place("start", "clone")
    opened(page, place.link)
    answers = {"urlPattern": "*/startup.json*", "requestStage": "Response"}
    page.call("Fetch.enable", patterns=[answers])
    place("start", "deps")
    answer = page.event("Fetch.requestPaused")["requestId"]
    place("complete", "deps")
    page.event("Network.eventSourceMessageReceived")
    page.call("Fetch.continueResponse", requestId=answer)
    page.call("Fetch.disable")
    page.until(f"{text('#summary')}.endsWith('1 completed, 1 up')")
    page.call("Fetch.enable", patterns=[answers])
    place("start", "build")
    answer = page.event("Fetch.requestPaused")["requestId"]
    page.call("Fetch.failRequest", requestId=answer, errorReason="ConnectionReset")
    page.call("Fetch.disable")
    page.until(f"{text('#live')} === 'connection lost; trying again'")
    page.until(f"{text('#live')} === 'live' && {label('build')}")
    forgive(page)


def test_a_click_finds_its_row_after_a_redraw(page: Page, place: Workspace) -> None:
    failing(place)
    opened(page, place.link)
    page.until(f"{label('build')} === 'waiting'")  # from now on, no row moves
    x, y = page.middle(row("clone") + " .name")
    page.mouse("mouseMoved", x, y)
    page.mouse("mousePressed", x, y, button="left", clickCount=1)
    title = page.value(text("#title"))
    page.until(f"{text('#title')} !== {json.dumps(title)}")
    page.mouse("mouseReleased", x, y, button="left", clickCount=1)
    page.until(f"{text('#details h2')} === 'clone'")


def test_300_units(page: Page, place: Workspace) -> None:
    with place.coordinator.client() as client:
        for number in range(300):
            client.start(f"unit-{number:03}")
            if number != 299:
                client.complete(f"unit-{number:03}")
    opened(page, place.link)
    page.until("document.querySelectorAll('.row').length === 300")
    chosen(page, "unit-150")
    top = page.value("document.getElementById('scroll').scrollTop")
    place("complete", "unit-299")
    page.until(f"{text('#summary')} === '300 units: 300 completed'")
    assert page.value("document.getElementById('scroll').scrollTop") == top > 0


def test_names_and_logs_are_only_text(page: Page, place: Workspace) -> None:
    """The fixture sees alerts and refused scripts."""
    evil = place.folder / "evil"
    evil.write_text("</pre><script>alert(1)</script>\x1b[31m\u202e<img src=x onerror=alert(1)>\n")
    for before, name in zip(("", *HOSTILE), HOSTILE, strict=False):
        if before:
            place("want", name, before)
        place(
            "run",
            name,
            "--log",
            "--",
            "sh",
            "-c",
            f'cat {evil}; {UNITSYNC} note "$UNITSYNC_UNIT" "<b>n"',
        )
    place("fail", HOSTILE[0], "--reason", "<script>alert(1)</script>")
    opened(page, place.link)
    page.until(f"document.querySelectorAll('.row').length === {len(HOSTILE)}")
    scripts = page.value("document.querySelectorAll('script').length")
    assert sorted(texts(page, ".row .name")) == sorted(HOSTILE)
    page.value("document.getElementById('rows').focus()")
    page.press("Home")
    for _ in HOSTILE:
        page.press("Enter")
        page.until(f"{text('#details .log pre')}.includes('<script>alert(1)</script>')")
        page.press("ArrowDown")
    assert page.value("document.querySelectorAll('script').length") == scripts
    assert page.value("document.querySelectorAll('#details img, #details b').length") == 0


def test_with_keys_alone(page: Page, place: Workspace) -> None:
    """Tab reaches everything, and Escape leads back."""
    place("start", "lint")
    place("reset", "--all", "--force")
    place("run", "clone", "--log", "--", "echo", "done")
    opened(page, place.link)
    page.until("!document.getElementById('startup').disabled")
    found: list[Any] = []
    for _ in range(9):
        page.press("Tab")
        found.append(page.value("document.activeElement.id || document.activeElement.className"))
    assert found[:8] == ["filter", "out", "fit", "in", "theme", "startup", "against", "rows"]
    page.value("document.getElementById('rows').focus()")
    page.press("Home", "Enter")
    page.until(f"{text('#details .log pre')} === 'done'")
    found = []
    for _ in range(5):
        page.press("Tab")
        found.append(page.value("document.activeElement.id || document.activeElement.tagName"))
    assert found == ["only", "BUTTON", "SUMMARY", "SUMMARY", "PRE"]
    page.press("Escape")
    assert page.value("document.getElementById('details').hidden") is True
    assert page.value("document.activeElement.id") == "rows"


def test_on_a_phone(page: Page, place: Workspace) -> None:
    """All fits into its width, and can be hit with a finger."""
    place("start", "lint")
    failing(place)
    place("reset", "--all", "--force")
    failing(place)
    page.touch(360, 740)
    opened(page, place.link)
    page.until("!document.getElementById('startup').disabled")
    chosen(page, "clone")
    page.until("!document.querySelector('#details .history').hidden")
    small = page.value(
        """[...document.querySelectorAll("button, input, select, summary, .row:not([hidden])")]
            .filter((e) => e.getClientRects().length)
            .filter((e) => e.getBoundingClientRect().height < 44)
            .map((e) => e.outerHTML)"""
    )
    assert small == []
    assert page.value("document.documentElement.scrollWidth") == 360
    wide = page.value(
        """[...document.querySelectorAll("header *, .live *, #details *")]
            .filter((e) => e.getBoundingClientRect().right > 360).map((e) => e.outerHTML)"""
    )
    assert wide == []
    assert page.value("document.getElementById('scroll').clientHeight") >= 120
    main = "document.querySelector('main').clientHeight"
    assert number(page, "document.getElementById('details').clientHeight") > number(page, main) / 2


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anybody_out(page: Page, place: Workspace, scheme: str) -> None:
    """axe finds nothing serious: the list, details and log, an earlier startup and a comparison."""
    place("run", "lint", "--log", "--", "sh", "-c", "echo wrong; exit 3", status=3)
    failing(place)
    place("reset", "--all", "--force")
    failing(place)
    place("run", "lint", "--log", "--", "sh", "-c", "echo fine")
    page.prefer(scheme)
    opened(page, place.link)
    page.until("!document.getElementById('startup').disabled")
    assert findings(page) == []
    chosen(page, "lint")
    page.until(f"{text('#details .log pre')} === 'fine'")
    page.value("document.querySelector('.history').open = true")
    assert findings(page) == []
    earlier = page.value("document.querySelectorAll('#startup option')[1].value")
    page.value(f"location.hash = 'startup={earlier}&against={earlier}'")
    page.until("document.querySelector('#comparison td')")
    page.until(f"{label('lint')} === 'failed'")
    assert findings(page) == []
