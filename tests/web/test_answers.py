"""What the page asks for, and what it is told."""

from __future__ import annotations

import http.client
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.coordinators import PATIENCE_S, Coordinator, clean_environment
from unitsync import Client
from unitsync.errors import LimitReached
from unitsync.startup.analysis.values import Startup, UnitRecord
from unitsync.web.startups import UNITS_MAX, Startups, _picture
from web.conftest import COMMAND, Web, serving

MARKUP = "<script>alert(1)</script>"
CONTROLS = "\x1b]0;title\x07\x1b[31mred\x1b[0m\rover\x00\u202e\x85"


def run(coordinator: Coordinator, *words: str) -> None:
    subprocess.run(
        [COMMAND, "run", "--endpoint", coordinator.address, *words],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=PATIENCE_S,
    )


def verb(coordinator: Coordinator, *words: str) -> list[str]:
    done = subprocess.run(
        [COMMAND, *words, "--endpoint", coordinator.address],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    return done.stdout.splitlines()


def chain(client: Client) -> None:
    """A startup: b waits for a."""
    client.start("a")
    client.complete("a")
    client.start("b", after=["a"])
    client.complete("b")


def names(picture: Any) -> list[str]:
    return [unit["name"] for unit in picture["units"]]


def test_the_present_startup(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web, coordinator.client() as client:
        nothing = web.json("startup.json")
        assert (nothing["units"], nothing["seq"]) == ([], 0)
        client.start("a")
        going_on = web.ask("startup.json")
        assert going_on.json["over"] is True  # a is up, for all that is known
        client.want("b", "a")
        going_on = web.ask("startup.json")
        assert going_on.json["over"] is False
        assert "ETag" not in going_on.headers
        assert names(going_on.json) == ["a", "b"]
        assert going_on.json["seq"] == last_seq(client)
        client.complete("a")
        client.start("b")
        client.complete("b")
        over = web.ask("startup.json")
        assert over.json["over"] is True
        assert over.json["seq"] > going_on.json["seq"]
        tag = over.headers["ETag"]
        assert web.ask("startup.json", If_None_Match=tag).status == 304
        assert web.ask("startup.json", If_None_Match=tag, Cookie="").status == 403
        client.note("b", "again")
        client.start("c")
        assert web.ask("startup.json", If_None_Match=tag).status == 200


def last_seq(client: Client) -> int:
    kept = client.startups()
    return kept.next_seq + kept.epochs[-1].number


def test_what_goes_on_grows(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web, coordinator.client() as client:
        client.start("a")
        client.want("b", "a")
        first = web.json("startup.json")
        while (later := web.json("startup.json"))["width"] == first["width"]:
            pass
        assert later["seq"] == first["seq"]
        assert later["width"] > first["width"]


def test_long_answers_are_packed(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web, coordinator.client() as client:
        client.declare({f"unit-{n}": [] for n in range(20)})
        plain = web.ask("startup.json", Accept_Encoding="identity")
        packed = web.ask("startup.json", Accept_Encoding="gzip, br")
        assert plain.headers["Content-Encoding"] is None
        assert packed.headers["Content-Encoding"] == "gzip"
        assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"])
        assert packed.body == plain.body
        assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
        assert web.ask("startups.json", Accept_Encoding="gzip").headers["Content-Encoding"] is None


def test_earlier_startups(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web, coordinator.client() as client:
        assert web.json("startups.json") == {"startups": []}
        chain(client)
        client.reset(all=True)
        before = web.json("startup.json")  # nothing is registered
        assert names(before) == ["a", "b"]
        assert before["notes"] == ["No unit is registered now; this is the startup before."]
        client.start("b")
        client.complete("b")
        client.start("c")
        client.fail("c", "no network")

        now, then = web.json("startups.json")["startups"]
        assert (now["present"], then["present"]) == (True, False)
        assert (now["label"], then["label"]) == ("0", "-1")
        assert then["outcome"] == "2 units: 2 completed"
        assert now["outcome"] == "2 units: 1 completed, 1 failed"
        assert then["began"] <= now["began"]
        assert then["took"].endswith("ms")

        picture = web.ask(f"startup.json?startup={then['id']}")
        assert names(picture.json) == ["a", "b"]
        assert picture.json["notes"] == []
        tag = picture.headers["ETag"]
        again = web.ask(f"startup.json?startup={then['id']}", If_None_Match=tag)
        assert (again.status, again.body) == (304, b"")
        assert names(web.json("startup.json", startup=now["id"])) == ["b", "c"]

        for query in ({}, {"startup": then["id"]}):
            compared = web.json("compare.json", **query)
            assert compared["against"] == then["id"]
            verdict, _, _, *table = verb(coordinator, "compare", "-1")
            assert compared["verdict"] == verdict
            assert compared["notes"] == []
            assert [" ".join(each["cells"]).split() for each in compared["changes"]] == [
                line.split() for line in table
            ]
            kinds = {each["cells"][0]: each["kind"] for each in compared["changes"]}
            assert (kinds["a"], kinds["c"]) == ("gone", "failed")
        itself = web.ask(f"compare.json?startup={now['id']}")
        assert itself.status == 400
        assert itself.json["error"] == "that is the latest startup itself"

        unit = web.json("unit.json", name="b", startup=then["id"])
        assert (unit["status"], unit["why"], unit["log"]) == ("completed", None, None)
        assert any("b waits for a" in line for line in unit["history"])
        assert web.ask(f"unit.json?name=c&startup={then['id']}").status == 404
        assert web.json("unit.json", name="c", startup=now["id"])["status"] == "failed"


def test_what_is_remembered_of_a_startup_ends_with_it(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web, coordinator.client() as client:
        client.start("a")
        client.want("b", "a")
        (present,) = web.json("startups.json")["startups"]
        assert "so far" in present["took"]
        client.complete("a")
        client.start("b")
        client.complete("b")
        client.reset(all=True)
        client.want("c")
        _, past = web.json("startups.json")["startups"]
        assert past["id"] == present["id"]
        assert past["outcome"] == "2 units: 2 completed"
        assert "so far" not in past["took"]


def test_what_is_said_of_the_latest_is_made_once(coordinator: Coordinator) -> None:
    startups = Startups(coordinator.address)
    with coordinator.client() as client:
        for _ in range(2):
            client.reset(all=True)
            chain(client)
        asks = (startups.list, lambda: startups.compare(""), lambda: startups.picture(""))
        for unit, ask in zip("cde", asks, strict=True):
            before = ask()
            assert ask() is before
            client.start(unit)
            client.complete(unit)
            assert ask() is not before
        before = startups.list()
        client.reset(all=True)
        assert startups.list() is not before


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("startup.json?startup=nonsense", 404, "there is no startup nonsense"),
        ("startup.json?startup=-1", 404, "there is no startup -1"),
        ("startup.json?startup=%0A%3Cb%3E" + "x" * 5000, 404, "there is no startup \\n<b>xxx"),
        ("compare.json", 404, "there is no earlier startup"),
        ("compare.json?startup=nonsense", 404, "there is no startup nonsense"),
        ("unit.json", 400, "is not a unit name"),
        ("unit.json?name=", 400, "is not a unit name"),
        ("unit.json?name=a%20b", 400, "is not a unit name"),
        ("unit.json?name=..%2F..%2Fetc", 200, ""),
        ("unit.json?name=%00", 400, "is not a unit name"),
        ("unit.json?name=git-*", 400, "is not a unit name"),
        ("unit.json?name=a&startup=nonsense", 404, "there is no startup nonsense"),
        ("nonsense", 404, "there is nothing here"),
        ("page.css", 404, "there is nothing here"),
        ("startup.json/", 404, "there is nothing here"),
        ("%2e%2e/startup.json", 404, "there is nothing here"),
    ],
)
def test_what_there_is_not(web_of_all: Web, path: str, status: int, said: str) -> None:
    answer = web_of_all.ask(path)
    assert answer.status == status
    assert said in answer.json.get("error", "")
    assert len(answer.body) < 1000
    assert b"Traceback" not in answer.body


@pytest.fixture(scope="module")
def web_of_all() -> Any:
    from unitsync.testing import throwaway_coordinator

    with throwaway_coordinator() as address, serving(address) as web, Client(address) as client:
        client.want("a")
        yield web


def test_a_unit(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web, coordinator.client() as client:
        run(coordinator, "a", "--log", "--", "sh", "-c", "seq 1 300; exit 3")
        client.want("b", "a")
        client.start("c")
        client.note("c", "cloning: 43 %")
        a = web.json("unit.json", name="a")
        assert (a["name"], a["status"], a["why"][0].partition(" ")[0]) == ("a", "failed", "a:")
        assert a["log"].split("\n") == [str(number) for number in range(101, 301)]
        assert Path(a["log_path"]).is_file()
        assert [line[14:] for line in a["history"]] == ["started", "failed: exit status 3"]
        b = web.json("unit.json", name="b")
        assert [line.partition(" ago")[0][:9] for line in b["why"]] == ["b: skippe", "└─ a: fai"]
        assert (b["log"], b["log_path"]) == (None, None)
        assert web.json("unit.json", name="c")["note"] == "cloning: 43 %"
        assert web.json("unit.json", name="unheard")["status"] == "not registered"


def test_a_long_log_is_cut(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web:
        run(coordinator, "a", "--log", "--", "sh", "-c", "seq -f '%01000.0f' 1 300")
        log = web.json("unit.json", name="a")["log"]
        assert len(log) <= 65_536
        assert log.endswith("300")


def test_what_scripts_say_is_text(coordinator: Coordinator, tmp_path: Path) -> None:
    """Nothing of it is markup, or moves a cursor: it is JSON, and printable."""
    unit = MARKUP.replace(" ", "")
    with serving(coordinator.address) as web, coordinator.client() as client:
        output = tmp_path / "output"
        output.write_text(f"{MARKUP}\n{CONTROLS}\n")
        run(coordinator, unit, "--log", "--", "cat", str(output))
        client.start("a", after=[unit])
        client.note("a", f"{MARKUP}{CONTROLS}")
        client.fail("a", f"{MARKUP}{CONTROLS}")
        (startup,) = web.json("startups.json")["startups"]
        for path in (
            "startup.json",
            f"startup.json?startup={startup['id']}",
            "unit.json?name=a",
            f"unit.json?name={MARKUP}",
            f"unit.json?name={MARKUP}x&startup={MARKUP}",
        ):
            answer = web.ask(path)
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            for text in texts(answer.json):
                assert all(line.isprintable() for line in text.split("\n")), text
        assert MARKUP in web.json("unit.json", name=unit)["log"]
        assert MARKUP.encode() not in web.ask(f"?{MARKUP}").body


def texts(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for pair in value.items() for each in pair for text in texts(each)]
        case list():
            return [text for each in value for text in texts(each)]
    return []


def test_300_units(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web, coordinator.client() as client:
        client.declare({f"unit-{n}": [f"unit-{n - 1}"] if n % 10 else [] for n in range(300)})
        for n in range(0, 300, 10):
            client.start(f"unit-{n}")
            (client.complete if n % 20 else client.fail)(f"unit-{n}")
        picture = web.json("startup.json")
        assert len(picture["units"]) == 300
        assert picture["summary"].startswith("300 units: 15 completed")
        assert web.json("unit.json", name="unit-9")["status"] == "skipped"


def test_more_units_than_a_browser_can_draw() -> None:
    units = tuple(UnitRecord(f"{n}", 0.0, "pending", 0.0) for n in range(UNITS_MAX + 1))
    with pytest.raises(LimitReached, match="20,000 units"):
        _picture(Startup("e", "s", 0.0, 1.0, True, 0.0, units), 1)


def test_an_unreachable_coordinator(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web, coordinator.client() as client:
        chain(client)
        assert names(web.json("startup.json")) == ["a", "b"]
        coordinator.kill()
        for path in ("startup.json", "startups.json", "compare.json", "unit.json?name=a"):
            answer = web.ask(path)
            assert answer.status == 503, path
            assert answer.json["error"]
        assert web.ask().status == 200
        coordinator.start()
        assert names(web.json("startup.json")) == ["a", "b"]


def test_one_connection_for_many_requests(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web:
        connection = web.connection()
        try:
            for _ in range(3):
                connection.request(
                    "GET", "/startups.json", headers={"Cookie": f"{web.cookie}={web.token}"}
                )
                response = connection.getresponse()
                assert json.loads(response.read()) == {"startups": []}
        finally:
            connection.close()


def test_what_is_not_http(coordinator: Coordinator) -> None:
    with serving(coordinator.address) as web:
        connection = web.connection()
        try:
            connection.sock.sendall(b"\x16\x03\x01 hello\r\n\r\n")
            response = http.client.HTTPResponse(connection.sock)
            response.begin()
            assert response.status == 400
            response.close()
        finally:
            connection.close()
