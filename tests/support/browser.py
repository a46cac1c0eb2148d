"""Chromium without a window, driven through its DevTools protocol over a pair of pipes.

It has a home of its own in a temporary folder, and ends, with all its processes, when its pipe is
closed. Nothing sleeps: each call waits for the answer or the event it is about.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from support.leaks import MARK

PROGRAM: Final = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser: Final = pytest.mark.skipif(
    PROGRAM is None, reason="needs Chromium (Debian: apt install chromium)"
)
PATIENCE_S: Final = 45.0
UNTIL_S: Final = 20
"""How long a page may take to show something."""
_FLAGS: Final = (
    *("--headless", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-breakpad"),
    *("--disable-dev-shm-usage", "--disable-extensions", "--hide-scrollbars", "--mute-audio"),
    "--no-default-browser-check",
)


class Page:
    """One tab. What its console said, what went wrong in it, and what it loaded is collected."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self.session = session
        self.target = target
        self.complaints: list[str] = []
        self.loaded: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, params, self.session)

    def prefer(self, scheme: str) -> None:
        """*scheme* is light or dark."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)

    def touch(self, width: int, height: int) -> None:
        """From now on it is a phone."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Emulation.setTouchEmulationEnabled", enabled=True)

    def open(self, place: Path | str) -> None:
        """*place* is a file, or a URL."""
        self.call("Page.navigate", url=place.as_uri() if isinstance(place, Path) else place)
        self._browser.wait_for("Page.loadEventFired", self.session)
        self.settle()

    def event(self, method: str) -> Any:
        """What comes with the next event *method* of the DevTools protocol."""
        return self._browser.wait_for(method, self.session)

    def spoken(self, selector: str) -> str:
        """The name that a screen reader has for an element."""
        found = self.call(
            "Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})"
        )
        element = found["result"]["objectId"]
        tree = self.call("Accessibility.getPartialAXTree", objectId=element, fetchRelatives=False)
        return str(tree["nodes"][0]["name"]["value"])

    def settle(self) -> None:
        """Returns after two frames have been drawn."""
        self.value(
            "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(1))))"
        )

    def value(self, expression: str) -> Any:
        """What *expression*, or the promise that it gives, comes to."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Returns when *condition*, an expression, holds. It is tried whenever the page changes."""
        self.value(
            f"""new Promise((done, fail) => {{
                const holds = () => {condition};
                const late = () => fail(new Error("never: " + holds + document.body.innerText));
                const timer = setTimeout(late, {1000 * UNTIL_S});
                const look = () => {{
                    if (!holds()) return;
                    clearTimeout(timer);
                    watch.disconnect();
                    done(1);
                }};
                const watch = new MutationObserver(look);
                const all = ["subtree", "childList", "attributes", "characterData"];
                watch.observe(document, Object.fromEntries(all.map((each) => [each, true])));
                look();
            }})"""
        )

    def press(self, *keys: str) -> None:
        """Press each of *keys*: a character, or a name such as ``Enter``."""
        codes = {"Enter": 13, "Escape": 27, "ArrowUp": 38, "ArrowDown": 40, "Home": 36, "End": 35}
        codes |= {"ArrowLeft": 37, "ArrowRight": 39, "Tab": 9}
        for key in keys:
            text = key if len(key) == 1 else {"Enter": "\r"}.get(key, "")
            event = {"key": key, "windowsVirtualKeyCode": codes.get(key, ord(key[0].upper()))}
            kind = "keyDown" if text else "rawKeyDown"
            self.call("Input.dispatchKeyEvent", type=kind, text=text, **event)
            self.call("Input.dispatchKeyEvent", type="keyUp", **event)
        self.settle()

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, selector: str) -> None:
        x, y = self.middle(selector)
        self.mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)
        self.settle()

    def middle(self, selector: str) -> tuple[float, float]:
        box = self.value(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return box[0], box[1]

    def seen(self, event: dict[str, Any]) -> None:
        params = event["params"]
        match event["method"]:
            case "Runtime.consoleAPICalled":
                self.complaints.append(f"console: {params['args']}")
            case "Runtime.exceptionThrown":
                self.complaints.append(f"exception: {params['exceptionDetails']}")
            case "Log.entryAdded":
                self.complaints.append(f"log: {params['entry']['text']}")
            case "Page.javascriptDialogOpening":
                self.complaints.append(f"dialog: {params['message']}")
            case "Network.requestWillBeSent":
                self.loaded.append(params["request"]["url"])


class Browser:
    def __init__(self, home: Path) -> None:
        assert PROGRAM is not None
        command = [PROGRAM, *_FLAGS, f"--user-data-dir={home}/profile"]
        if os.geteuid() == 0:
            command.append("--no-sandbox")
        to_child, self._out = os.pipe()
        self._in, from_child = os.pipe()
        kept = {name: value for name, value in os.environ.items() if name != MARK}
        places = {"HOME": home, "TMPDIR": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home}
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_child} 4>&{from_child}', "bash", *command],
            env={**kept, **{name: str(place) for name, place in places.items()}},
            pass_fds=(to_child, from_child),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_child)
        os.close(from_child)
        self._buffer = b""
        self._number = 0
        self._events: list[dict[str, Any]] = []
        self._pages: dict[str, Page] = {}

    def close(self) -> None:
        """Also ends what a browser that has gone wrong has left of itself."""
        try:
            self.call("Browser.close", {})
            self._process.wait(PATIENCE_S)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    @contextmanager
    def page(self) -> Iterator[Page]:
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        page = Page(self, attached["sessionId"], target)
        self._pages[page.session] = page
        page.resize(1200, 700)
        try:
            yield page
        finally:
            del self._pages[page.session]
            self.call("Target.closeTarget", {"targetId": target})

    def call(self, method: str, params: dict[str, Any], session: str = "") -> dict[str, Any]:
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        left = json.dumps(message).encode() + b"\0"
        while left:
            left = left[os.write(self._out, left) :]
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result

    def wait_for(self, method: str, session: str) -> Any:
        """What comes with the next event *method*. Forgets the events before it."""
        while True:
            for place, event in enumerate(self._events):
                if (event["method"], event.get("sessionId")) == (method, session):
                    del self._events[: place + 1]
                    return event["params"]
            self._next()

    def _next(self) -> dict[str, Any]:
        """The next message; an event is noted as well."""
        deadline = time.monotonic() + PATIENCE_S
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            assert select.select([self._in], [], [], max(0.0, left))[0], "Chromium does not answer"
            data = os.read(self._in, 1 << 16)
            assert data, "Chromium has ended"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self._events.append(message)
            if page := self._pages.get(message.get("sessionId", "")):
                page.seen(message)
        return message
