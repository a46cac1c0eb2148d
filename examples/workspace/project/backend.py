"""A build backend (PEP 517) in a few lines, so that pip can build without an index.

Packs the package or module that has the project's name into a wheel.
"""

import tomllib
import zipfile
from pathlib import Path


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {each}" for each in project.get("dependencies", [])]
    scripts = [f"{command} = {where}" for command, where in project.get("scripts", {}).items()]
    info = f"{name}-{version}.dist-info"
    files = {
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": ["Wheel-Version: 1.0", "Root-Is-Purelib: true", "Tag: py3-none-any"],
        f"{info}/entry_points.txt": ["[console_scripts]", *scripts],
    }
    for source in [Path(f"{name}.py"), *Path(name).rglob("*.py")]:
        if source.exists():
            files[source.as_posix()] = source.read_text().splitlines()
    files[f"{info}/RECORD"] = [f"{each},," for each in [*files, f"{info}/RECORD"]]

    wheel = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / wheel, "w") as archive:
        for path, lines in files.items():
            archive.writestr(path, "".join(f"{line}\n" for line in lines))
    return wheel
