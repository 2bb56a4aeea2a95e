"""The list of what an installation is made of: complete, the same each time, and as CycloneDX wants it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.sbom import sbom
from tests.test_packaging import pinned

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2:2.41-12+deb13u1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


@pytest.fixture
def status(tmp_path: Path) -> Path:
    (tmp_path / "status").write_text(STATUS)
    return tmp_path / "status"


def test_every_package_of_the_lock_is_listed_with_its_version(status: Path) -> None:
    """All that is installed, each once; of the system what is installed and not what was."""
    listed = {one["purl"]: one for one in sbom(status)["components"]}
    assert len(listed) == len(sbom(status)["components"])
    for name, version in pinned().items():
        if name not in ("colorama", "tzdata"):  # for Windows only
            assert listed[f"pkg:pypi/{name}@{version}"]["version"] == version
    debian = [purl for purl in listed if purl.startswith("pkg:deb/")]
    assert debian == ["pkg:deb/debian/libc6@2%3A2.41-12%2Bdeb13u1?arch=amd64"]
    assert any(purl.startswith("pkg:generic/python@3.") for purl in listed)


def test_who_needs_whom_is_told_by_references_that_exist(status: Path) -> None:
    document = sbom(status)
    refs = {one["bom-ref"] for one in document["components"]} | {document["metadata"]["component"]["bom-ref"]}
    needs = {one["ref"]: one["dependsOn"] for one in document["dependencies"]}
    assert {*needs, *(ref for on in needs.values() for ref in on)} <= refs
    version = pinned()
    assert f"pkg:pypi/starlette@{version['starlette']}" in needs[f"pkg:pypi/fastapi@{version['fastapi']}"]


def test_the_same_installation_gives_the_same_bytes(tmp_path: Path) -> None:
    """No clock and no chance in it, so two builds can be compared."""
    files = [tmp_path / "first", tmp_path / "second"]
    for file in files:
        subprocess.run([sys.executable, "-m", "app.cli.sbom", str(file)], check=True, cwd=Path(__file__).parents[2])
    assert files[0].read_bytes() == files[1].read_bytes()
    assert json.loads(files[0].read_text("utf-8"))["bomFormat"] == "CycloneDX"


@pytest.mark.scenario
def test_it_is_cyclonedx_by_its_schema(status: Path) -> None:
    """Judged by the standard's own library."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(sbom(status))) is None
