"""compose files, Procfiles, Makefiles: each with its plan, and with what is said of it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from plan.imports.conftest import Import, check_golden
from unitsync.importing import makefile
from unitsync.plan.mistakes import PlanError

COMPOSE = """\
x-common: &common
  restart: unless-stopped
  environment: &env
    LOG: debug
services:
  web:
    <<: *common
    image: web:1
    entrypoint: ["./serve"]
    command: --port 8080 --title "my web"
    environment:
      <<: *env
      DB: postgres://db/app
      PASSED_ON:
      PRICE: $$5
    ports: ["8080:8080"]
    depends_on:
      db: { condition: service_healthy, restart: true }
      migrate: { condition: service_completed_successfully }
  migrate:
    build: .
    command: ["./migrate.sh", "up"]
    environment: [MODE=full, PASSED_ON]
    depends_on: [db]
  db:
    image: postgres:17
    command: postgres -D data
    env_file:
      - db.env
      - { path: missing.env, required: false }
    healthcheck:
      test: ["CMD-SHELL", "pg_isready -U $$USER"]
      interval: 5s
    restart: on-failure:3
    stop_signal: SIGINT
    stop_grace_period: 1m30s
  cache:
    command: ["cache"]
    healthcheck: { test: [CMD, cache, ping, "it's"] }
    deploy: { replicas: 2 }
  debug:
    image: busybox
    profiles: [debug]
volumes:
  data:
"""
OPEN = """\
services:
  web:
    image: web:${TAG:-1}
    command: serve --port ${PORT:-80}
    environment: { TOKEN: $TOKEN }
    depends_on: { db: { condition: service_healthy } }
  db:
    image: postgres
    env_file: db.env
"""
PROCFILE = """\
# three processes
web: bin/serve --port 5000
worker:   bundle exec work

release: ./migrate
what is this
"""
MAKEFILE = """\
VENV := .venv
PORT ?= 80
.PHONY: all test lint \\
  build
.PHONY: ghost
all: test lint  ## everything
test: export MODE = fast
test: build | $(VENV)
\tpytest
lint: ; ruff check
build: dist/app
\techo built >> order
dist/app:
\tmkdir -p dist
\ttouch $@
%.o: %.c
\tcc
include more.mk
define text
not a rule: at all
endef
"""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        ("compose", "compose.yml", COMPOSE),
        ("procfile", "Procfile", PROCFILE),
        ("make", "Makefile", MAKEFILE),
    ],
)
def test_a_file_is_its_plan(
    kind: str, name: str, text: str, importing: Import, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "db.env").write_text("A=b\n")
    done = importing(kind, name)
    assert done.status == 0
    check_golden(f"{kind}.toml", done.out)
    check_golden(f"{kind}.txt", "".join(f"{line}\n" for line in done.told))
    assert done.said("open") == []
    assert done.plan(tmp_path).units


def test_what_compose_takes_from_elsewhere_is_open(importing: Import, tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text(OPEN)
    done = importing("compose", "compose.yml")
    assert done.said("open") == [
        "compose.yml:4: unit web: command: ${PORT:-80}",
        "compose.yml:5: unit web: TOKEN: $TOKEN",
        "compose.yml:6: unit db: when it is healthy (ready): its image may say it",
        "compose.yml:7: unit db: the command of postgres",
        "compose.yml:9: unit db: db.env is not there",
    ]
    with pytest.raises(PlanError) as told:
        done.plan(tmp_path)
    assert len([each for each in told.value.mistakes if "not finished" in each.message]) == 5


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("compose", "", ["error: f:1:1: it is empty"]),
        ("compose", "a: [", ["error: f:1:5: this is not YAML: "]),
        ("compose", "a: 1", ["error: f:1:1: it has no services"]),
        ("compose", "services: [a]", ["error: f:1:1: services is no mapping"]),
        ("compose", "services: {a: {command: 'x \"'}}", ["error: f:1:1: a: a quote in command"]),
        (
            "compose",
            "services:\n  a: {command: x, depends_on: [bb]}\n  b: {command: x}",
            ["error: f:2:1: a: depends_on bb, which is no service", "hint: did you mean b?"],
        ),
        (
            "compose",
            "services:\n  a: {command: x, depends_on: [b]}\n  b: {command: x, depends_on: [a]}",
            ["error: f:2:1: the services wait in a circle: a → b → a"],
        ),
        (
            "compose",
            "services:\n  a: {command: x, depends_on: [a]}",
            ["error: f:2:1: a would wait for itself"],
        ),
        (
            "compose",
            "services:\n  a: {command: x, depends_on: {b: {condition: ready}}}\n  b: {command: x}",
            ["error: f:2:1: a: depends_on b: there is no condition ready", "hint: one of: "],
        ),
        ("procfile", "", ["error: f:1:1: it has no line NAME: COMMAND"]),
        ("procfile", "a: b\na: c", ["error: f:2:1: there are two processes a; the other is in"]),
        ("make", "all:\n\ttrue", ["error: f:1:1: it has no target that is a command"]),
        (
            "make",
            ".PHONY: a b\na: b\nb: a\n",
            ["error: f:2:1: the targets wait in a circle: a → b → a"],
        ),
        ("make", "a\0", ["error: f:1:1: it holds the character NUL"]),
    ],
)
def test_a_mistake_is_told(
    kind: str, text: str, told: list[str], importing: Import, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text(text)
    done = importing(kind, "f")
    assert done.status == 5
    assert done.out == ""
    for line, begin in zip(done.told, told, strict=False):
        assert line.startswith(begin.replace("1:5:", "1:1:"))


def test_a_compose_file_whose_aliases_explode_is_refused(importing: Import, tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], x{n}: 1}}" for n in range(1, 9)
    ]
    (tmp_path / "f").write_text("\n".join([*lines, "services: {s: {<<: *a8, command: x}}"]))
    assert importing("compose", "f").told[-1].endswith("it has more than 100,000 values")


def test_wrong_use(importing: Import, tmp_path: Path) -> None:
    assert importing("comose", "f").told == [
        "error: import: 'comose' is not one of coder, compose, procfile, make",
        "hint: did you mean compose?",
    ]
    assert importing("compose").told == [
        "error: import compose needs the file",
        "hint: unitsync import compose compose.yaml",
    ]
    (tmp_path / "docker-compose.yml").touch()
    assert importing("compose").told[1] == "hint: unitsync import compose docker-compose.yml"
    assert importing("coder").told[0] == "error: import coder needs the folder of the template"
    assert importing("compose", "f", phase="stop").status == 2
    assert importing("coder", "f", phase="middle").status == 2
    assert importing("compose", "missing.yml").status == 5
    assert importing("coder", "missing").status == 5
    assert importing("coder", str(tmp_path)).status == 5


def test_a_plan_that_is_there_is_left_alone(importing: Import, tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("web: serve\n")
    (tmp_path / "other").mkdir()
    done = importing("procfile", "Procfile", out="other/unitsync.toml")
    assert (done.status, done.out) == (0, "")
    written = tmp_path / "other" / "unitsync.toml"
    assert "[unit.web]" in written.read_text()
    again = importing("procfile", "Procfile", out="other/unitsync.toml")
    assert again.status == 2
    assert again.told[0] == "error: other/unitsync.toml is there already, and may have been edited"
    assert importing("procfile", "Procfile", out="no/such/plan.toml").status == 1


def test_paths_are_from_the_folder_of_the_plan(importing: Import, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "Makefile").write_text(".PHONY: a\na:\n\ttrue\n")
    importing("make", "src/Makefile", out="unitsync.toml")
    assert 'cwd = "src"' in (tmp_path / "unitsync.toml").read_text()


def test_a_missing_library_is_named(
    importing: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("yaml", "hcl2", "tomlkit"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    (tmp_path / "f.tf").write_text("a = 1\n")
    (tmp_path / "Procfile").write_text("web: serve\n")
    hint = f"hint: in a clone of unitsync: {sys.executable} -m pip install '.[import]'"
    for words, package in (
        (("compose", "f.tf"), "a compose file is read with pyyaml"),
        (("coder", "."), "a template is read with python-hcl2"),
        (("procfile", "Procfile"), "a plan is written with tomlkit"),
    ):
        done = importing(*words)
        assert done.told == [f"error: {package}, which is not installed", hint]


def test_make_runs_each_command_once(importing: Import, tmp_path: Path) -> None:
    """The unit of a target leaves out what other units have run."""
    (tmp_path / "Makefile").write_text(MAKEFILE.partition("%.o")[0])
    plan = importing("make", "Makefile").plan(tmp_path)
    assert plan.units["test"].words == ("make", "--old-file=build", "test")
    assert plan.units["all"].words == ()
    assert [edge.unit for edge in plan.units["all"].after] == ["test", "lint"]


def test_nothing_is_run(importing: Import, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        ".PHONY: a\nX := $(shell touch ran)\na: $(shell touch ran)\n\ttouch ran\n"
    )
    assert importing("make", "Makefile").status == 0
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_read_is_told(importing: Import, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"web: \xff\n")
    assert importing("procfile", "f").told == ["error: f:1:1: it is not UTF-8"]
    os.truncate(path, 2_000_000)
    assert importing("procfile", "f").told == ["error: f:1:1: it is longer than 1,000,000 bytes"]
    path.unlink()
    os.mkfifo(path)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_line_of_a_makefile_that_goes_on_is_where_it_begins() -> None:
    assert list(makefile._lines("a: \\\n b \\\n c\nd:\ne \\")) == [
        *((1, "a:   b   c"), (4, "d:"), (5, "e  "))
    ]
