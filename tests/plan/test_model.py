"""What a plan means: defaults, paths, environments, names, includes."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from plan.conftest import Write, mistakes
from unitsync.errors import UsageError
from unitsync.plan import check, model, reading
from unitsync.plan.model import Edge, PlanError, UnitPlan, find, load
from unitsync.wire.values import OnOwnerExit, Requirement


def test_a_unit_with_nothing_but_its_command(write: Write, tmp_path: Path) -> None:
    path = write('[unit.a]\nrun = "make"\n')
    plan = load(path)
    assert plan.units == {
        "a": UnitPlan(
            name="a", words=("/bin/sh", "-e", "-c", "make"), cwd=str(tmp_path), source=path
        )
    }
    assert (plan.path, plan.files, plan.parallel, plan.external) == (path, (path,), 0, frozenset())


def test_a_unit_with_everything(write: Write, tmp_path: Path) -> None:
    write("A=1\nexport B='2 3' # more\n\nC=$A\nD\n", "a.env")
    write('B="4"\n', "b.env")
    path = write(
        """
        parallel = 3
        external = ["clone"]
        [unit.a]
        run = "make"
        shell = "bash -e -o 'pipefail'"
        after = ["clone", { unit = "b", requires = "start", optional = true }]
        timeout = "1h30m"
        wait-timeout = 90
        grace = "500ms"
        retries = 2
        backoff = 1.5
        env = { C = "c" }
        env-file = ["a.env", "b.env"]
        cwd = "."
        user = "root"
        stop = "SIGINT"
        ready = "tcp:5432"
        on-owner-exit = "ignore"
        [unit.b]
        command = ["sh", "-c", ""]
        cwd = "/"
        """
    )
    plan = load(path, runnable=False)
    assert plan.units["a"] == UnitPlan(
        name="a",
        words=("bash", "-e", "-o", "pipefail", "-c", "make"),
        after=(Edge("clone"), Edge("b", Requirement.START, True)),
        timeout_s=5400.0,
        wait_timeout_s=90.0,
        grace_s=0.5,
        retries=2,
        backoff_s=1.5,
        env={"A": "1", "B": "4", "C": "c"},
        cwd=str(tmp_path),
        user="root",
        stop="SIGINT",
        shell=("bash", "-e", "-o", "pipefail"),
        ready="tcp:5432",
        on_owner_exit=OnOwnerExit.IGNORE,
        source=path,
    )
    assert plan.units["b"].words == ("sh", "-c", "")
    assert plan.units["b"].cwd == "/"
    assert plan.parallel == 3
    assert plan.external == {"clone"}


def test_before_is_after_from_the_other_side(write: Write) -> None:
    path = write(
        """
        external = ["ide"]
        [unit.a]
        run = "true"
        before = ["b", { unit = "ide", requires = "start" }]
        [unit.b]
        run = "true"
        after = ["a"]
        """
    )
    plan = load(path)
    assert plan.units["a"].after == ()
    assert plan.units["b"].after == (Edge("a"),)
    assert plan.others_after == {"ide": (Edge("a", Requirement.START),)}


def test_included_units_have_the_prefix_and_their_own_folder(write: Write, tmp_path: Path) -> None:
    write("X=1\n", "db/.env")
    write("#!/bin/sh\n", "db/migrate.sh").chmod(0o755)
    write(
        """
        parallel = 1
        external = ["clone", "web"]
        [[include]]
        plan = "../seed/plan.toml"
        prefix = "seed."
        [unit.migrate]
        script = "migrate.sh"
        env-file = ".env"
        after = ["clone", "seed.rows"]
        before = ["web"]
        """,
        "db/plan.toml",
    )
    write('[unit.rows]\nrun = "true"\n', "seed/plan.toml")
    path = write(
        """
        [[include]]
        plan = "db/plan.toml"
        prefix = "db."
        [[include]]
        plan = "seed/plan.toml"
        prefix = "more."
        [unit.web]
        run = "true"
        after = ["db.seed.rows"]
        """
    )
    plan = load(path)
    assert set(plan.units) == {"web", "db.migrate", "db.seed.rows", "more.rows"}
    migrate = plan.units["db.migrate"]
    assert migrate.words == (str(tmp_path / "db" / "migrate.sh"),)
    assert migrate.cwd == str(tmp_path / "db")
    assert migrate.env == {"X": "1"}
    assert migrate.after == (Edge("clone"), Edge("db.seed.rows"))
    assert plan.units["web"].after == (Edge("db.seed.rows"), Edge("db.migrate"))
    assert plan.external == {"clone"}  # web is a unit of the plan that includes it
    assert plan.parallel == 0


def test_a_file_cannot_name_units_of_the_plan_that_includes_it(write: Write) -> None:
    write('[unit.a]\nrun = "true"\nafter = ["web"]\n', "a.toml")
    path = write('include = [{ plan = "a.toml", prefix = "a." }]\n[unit.web]\nrun = "true"\n')
    (one,) = mistakes(path)
    assert (Path(one.file).name, one.line, one.column, one.unit) == ("a.toml", 3, 10, "a.a")


def test_a_name_that_several_included_units_could_mean_is_not_guessed(write: Write) -> None:
    write('[unit.one]\nrun = "true"\n', "a.toml")
    text = 'include = [{}]\n[unit.web]\nrun = "true"\nafter = ["one"]\n'
    for prefixes, hint in (
        (["long."], "did you mean long.one?"),
        (["long.", "other."], "external"),
    ):
        included = (f'{{ plan = "a.toml", prefix = "{prefix}" }}' for prefix in prefixes)
        (one,) = mistakes(write(text.format(", ".join(included))))
        assert hint in one.hint


def test_a_long_cycle_is_not_spelled_out_as_a_whole(write: Write) -> None:
    units = (f'[unit.u{at}]\nrun = "true"\nafter = ["u{(at + 1) % 150}"]\n' for at in range(150))
    (one,) = mistakes(write("".join(units)))
    names = one.message.partition(": ")[2].split(" → ")
    assert names == [
        *(f"u{at}" for at in range(50)),
        "(51 more)",
        *(f"u{at % 150}" for at in range(101, 151)),
    ]


def test_several_files_make_one_plan(write: Write) -> None:
    first = write('parallel = 4\n[unit.a]\nrun = "true"\n')
    second = write('parallel = 2\n[unit.b]\nrun = "true"\nafter = ["a"]\n', "b.toml")
    plan = load([first, second])
    assert (list(plan.units), plan.path, plan.parallel) == (["a", "b"], first, 2)


def test_the_same_edge_from_both_sides_is_one(write: Write) -> None:
    path = write(
        '[unit.a]\nrun = "true"\nbefore = ["b"]\n[unit.b]\nrun = "true"\nafter = ["a", "a"]\n'
    )
    assert load(path).units["b"].after == (Edge("a"),)


def test_a_plan_is_found_as_git_finds_its_folder(write: Write, tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    with pytest.raises(UsageError, match=r"there is no unitsync\.toml here"):
        find(inner)
    path = write("")
    assert find(inner) == find(tmp_path) == path
    nearer = write("", "a/unitsync.toml")
    assert find(inner) == nearer
    (inner / "unitsync.toml").mkdir()
    assert find(inner) == nearer


def test_what_a_prerequisite_may_make_is_noted(write: Write) -> None:
    path = write(
        """
        [unit.clone]
        run = "git clone x repo"
        [unit.a]
        script = "repo/setup.sh"
        after = ["clone"]
        [unit.b]
        command = ["surely-no-program"]
        cwd = "repo"
        after = ["clone"]
        [unit.c]
        run = "true"
        cwd = "repo"
        after = ["clone"]
        """
    )
    assert load(path).notes == (
        "not there yet: repo/setup.sh (script), for a",
        "not there yet: repo (folder), for b, c",
        "not there yet: surely-no-program (program), for b",
    )
    assert load(path, runnable=False).notes == ()


def test_what_this_machine_lacks_can_be_left_out(write: Write) -> None:
    path = write('[unit.a]\nscript = "nowhere.sh"\nuser = "nobody-here"\n')
    assert len(mistakes(path)) == 2
    assert mistakes(path, runnable=False) == []


def test_only_root_runs_units_as_others(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('[unit.a]\nrun = "true"\nuser = "root"\n')
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    check._wrong_user.cache_clear()
    (one,) = mistakes(path)
    check._wrong_user.cache_clear()
    assert one.message == "only root can run a unit as root"
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam("nobody").pw_uid)
    assert mistakes(write('[unit.a]\nrun = "true"\nuser = "nobody"\n')) == []
    check._wrong_user.cache_clear()


def test_files_that_cannot_be_read(write: Write, tmp_path: Path) -> None:
    write("")
    (tmp_path / "link.toml").symlink_to("nowhere")
    for name, why in (
        ("nowhere.toml", "there is no such file"),
        ("no/where.toml", "there is no such file"),
        (".", "it is a folder"),
        ("link.toml", "it is a link to nothing"),
        ("unitsync.toml/x", "not a directory"),
        ("a\0b", "this is no name of a file"),
        ("x" * 300, "file name too long"),
    ):
        (one,) = mistakes(tmp_path / name)
        assert one.message == f"the plan cannot be read: {why}"
    assert mistakes(tmp_path)[0].hint == "did you mean unitsync.toml?"


def test_bounds(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "UNITS_MAX", 3)
    monkeypatch.setattr(model, "FILES_MAX", 2)
    monkeypatch.setattr(reading, "FILE_BYTES_MAX", 2000)
    units = "".join(f'[unit.u{number}]\nrun = "true"\n' for number in range(5))
    write('[unit.x]\nrun = "true"\n', "x.toml")
    include = "".join(f'[[include]]\nplan = "x.toml"\nprefix = "i{n}"\n' for n in range(5))
    (one,) = mistakes(write(units))
    assert (one.message, one.line) == ("a plan holds at most 3 units", 7)
    (one,) = mistakes(write(include))
    assert one.message == "a plan includes at most 2 files, in at most 32 levels"
    (one,) = mistakes(write(f"#{'x' * 2000}\n"))
    assert one.message == "the plan cannot be read: it is larger than 0 MiB"


def test_includes_have_a_depth(write: Write) -> None:
    for number in range(40):
        write(
            f'[[include]]\nplan = "{number + 1}.toml"\nprefix = "x"\n[unit.a]\nrun = "true"\n',
            f"{number}.toml",
        )
    (one,) = mistakes(write('[unit.a]\nrun = "true"\n', "40.toml").with_name("0.toml"))
    assert (Path(one.file).name, one.message) == (
        "32.toml",
        "a plan includes at most 1,000 files, in at most 32 levels",
    )


def test_a_name_that_gets_too_long_by_its_prefix(write: Write) -> None:
    write(f'[unit.{"a" * 250}]\nrun = "true"\n', "a.toml")
    (one,) = mistakes(write('include = [{ plan = "a.toml", prefix = "abc.def." }]\n'))
    assert one.message.endswith("is not a unit name: it is longer than 255 bytes")


def test_a_byte_order_mark_and_the_line_ends_of_windows(write: Write, tmp_path: Path) -> None:
    path = write("")
    path.write_bytes(b'\xef\xbb\xbf[unit.a]\r\nrun = "true"\r\nafter = ["b"]\r\n')
    (one,) = mistakes(path)
    assert (one.line, one.column) == (3, 10)


def test_the_error_is_one_line_for_those_who_print_only_that(write: Write) -> None:
    path = write('[unit.a]\nrun = "true"\nafter = ["b", "c"]\n')
    with pytest.raises(PlanError) as caught:
        load(path)
    assert caught.value.exit_status == 5
    assert caught.value.message == (
        "unitsync.toml:3:10: a waits for b, which is no unit of this plan (and 1 more mistake)"
    )
    assert len(caught.value.mistakes) == 2


def test_a_plan_in_which_something_is_open_is_refused(write: Write) -> None:
    path = write('open = ["the port", "the user"]\n[unit.a]\nrun = "true"\n')
    assert [(each.line, each.column, each.message) for each in mistakes(path)] == [
        (1, 9, "the plan is not finished: the port"),
        (1, 21, "the plan is not finished: the user"),
    ]
    write('[[include]]\nplan = "unitsync.toml"\nprefix = "x."\n', "other.toml")
    assert len(mistakes(path.with_name("other.toml"))) == 2
    assert mistakes(write('open = []\n[unit.a]\nrun = "true"\n')) == []
