"""A page in headless Chromium, spoken to through a pipe with the standard library alone."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-pipe",
)  # fmt: skip
SECONDS = 30.0
ABOVE = 10  # file descriptors that the pipe's own two, 3 and 4, cannot be
FIRST_PLOT = """
(() => {
  const look = () => {
    const plots = [...document.querySelectorAll("main svg title")];
    if (plots.some((title) => title.parentElement.getBoundingClientRect().height > 50)) {
      requestAnimationFrame(() => { window.firstPlotMs = performance.now(); });
    } else requestAnimationFrame(look);
  };
  look();
})();
"""


def installed() -> str | None:
    """The path of a Chromium on this machine."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page. What it asks the network for and what its console says is kept.

    Attributes:
        requests: every address that was asked for.
        complaints: errors and warnings of console and page.
    """

    def __init__(self, program: str, profile: Path) -> None:
        self._answers, self._questions = os.pipe(), os.pipe()
        reading, writing = (
            fcntl.fcntl(end, fcntl.F_DUPFD, ABOVE) for end in (self._questions[0], self._answers[1])
        )
        silent = os.open(os.devnull, os.O_RDWR)
        duplicates = ((silent, 1), (silent, 2), (reading, 3), (writing, 4))
        self._process = os.posix_spawn(
            program,
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, old, new) for old, new in duplicates],
            setpgroup=0,
        )
        for end in (reading, writing, silent, self._questions[0], self._answers[1]):
            os.close(end)
        self._number, self._rest, self._session = 0, b"", ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._loaded = False
        pages = self.call("Target.getTargets")["targetInfos"]
        target = next(item["targetId"] for item in pages if item["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=FIRST_PLOT)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Answers a method of the DevTools protocol."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._questions[1], json.dumps(message).encode() + b"\0")
        until = time.monotonic() + SECONDS
        while True:
            found = self._next(until)
            if found.get("id") == self._number:
                assert "error" not in found, found
                return dict(found["result"])

    def open(self, path: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Shows a file in a window of this size."""
        self.requests, self.complaints, self._loaded = [], [], False
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        until = time.monotonic() + SECONDS
        while not self._loaded:
            self._next(until)
        while self.value("window.firstPlotMs === undefined"):
            assert time.monotonic() < until, "no plot was drawn"

    def resize(self, width: int, height: int) -> None:
        """Makes the window another size, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def value(self, script: str) -> Any:
        """What a script returns in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Presses a key that writes nothing."""
        for kind in ("rawKeyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", **event)

    def picture(self, path: Path) -> None:
        """Writes the whole page as PNG."""
        shown = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shown["data"]))

    def close(self) -> None:
        """Ends the browser and what it started."""
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._questions[1])
        os.close(self._answers[0])

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, *_ = select.select([self._answers[0]], [], [], until - time.monotonic())
            assert ready, "the browser does not answer"
            said = os.read(self._answers[0], 1 << 20)
            assert said, "the browser ended"
            self._rest += said
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        self._note(found)
        return found

    def _note(self, found: dict[str, Any]) -> None:
        told = found.get("params", {})
        match found.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Page.loadEventFired":
                self._loaded = True
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded":
                self.complaints.append(json.dumps(told))
