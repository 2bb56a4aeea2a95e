"""What is shipped: the lock is what the project asks for, small enough, and the image is made as promised."""

from __future__ import annotations

import re
import shutil
import site
import subprocess
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")

PACKAGES_MAX = 40

# A package that was taken over is mostly noticed within so long.
COOL_DOWN_DAYS = 3

IMAGE_EXTRAS = ("alerts",)
# What they may bring beside that.
EXTRAS_PACKAGES_MAX = 10


def pinned() -> dict[str, str]:
    """Package → version, as the lock pins them."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", LOCK, re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def exported(*extras: str) -> str:
    """What uv resolves pyproject.toml to."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.fail("uv is not there: it is what the README starts with")
    command = [uv, "export", "--no-dev", "--no-emit-project", "--format", "requirements-txt", "--no-header"]
    command += [word for extra in extras for word in ("--extra", extra)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_lock_is_what_the_project_asks_for() -> None:
    """uv resolves pyproject.toml, with the extras of the image, to exactly this set, hash by hash."""
    kept = "".join(line for line in LOCK.splitlines(keepends=True) if not line.startswith("#"))
    assert kept == exported(*IMAGE_EXTRAS)


def test_every_direct_dependency_is_pinned_and_there_are_few() -> None:
    """At most 40 packages at run time, the project's own choices among them; the image's extras add a few."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    direct = {re.split(r"[<>=;\s\[]", wanted)[0].lower() for wanted in project["dependencies"]}
    assert direct <= pinned().keys()
    base = re.findall(r"^[A-Za-z0-9._-]+==", exported(), re.MULTILINE)
    assert len(base) <= PACKAGES_MAX
    assert len(pinned()) <= PACKAGES_MAX + EXTRAS_PACKAGES_MAX


def test_every_pin_has_hashes_and_no_address() -> None:
    """A changed file is refused; no download address is written down."""
    blocks = re.split(r"^(?=[A-Za-z0-9._-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in LOCK


def test_nothing_younger_than_a_few_days_is_resolved() -> None:
    """The cool-down is a fixed instant that has passed: a version published after it cannot come in by itself.

    It has no age limit here, or an old clone would stop passing its tests; whoever updates packages moves it.
    """
    until = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["uv"]["exclude-newer"]
    released = datetime.fromisoformat(until)
    assert released.tzinfo is not None
    assert released <= datetime.now(UTC) - timedelta(days=COOL_DOWN_DAYS)


# They run code, or reach elsewhere, at every start of the interpreter: the project's own, and coverage's.
PTH_FILES = {"_editable_impl_imagerouter_gateway.pth", "a1_coverage.pth", "_virtualenv.pth", "distutils-precedence.pth"}


def test_no_package_runs_code_at_every_start() -> None:
    """A `.pth` file is the door through which a package acts without being imported."""
    found = {path.name for place in site.getsitepackages() for path in Path(place).glob("*.pth")}
    assert found <= PTH_FILES
    places = [
        Path(place) / name for place in site.getsitepackages() for name in ("sitecustomize.py", "usercustomize.py")
    ]
    assert [path for path in places if path.exists()] == []


def test_the_image_lists_what_it_is_made_of() -> None:
    """In its own last stage, by nothing that is installed for it."""
    final = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert (
        final.index("COPY --from=builder") < final.index("app.cli.sbom /opt/irg/sbom.cdx.json") < final.index("USER ")
    )


def test_the_image_installs_with_hashes_and_runs_as_nobody() -> None:
    """Two stages, hashes required, another user than root, a volume, and its own health check."""
    assert DOCKERFILE.count("\nFROM ") == 2
    assert "--require-hashes" in DOCKERFILE
    final = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert "VOLUME /data" in final
    assert re.search(r'^HEALTHCHECK .*\["irg", "health"\]$', final, re.MULTILINE)
    assert " install -r" not in final


def test_the_compose_file_hardens_and_hides() -> None:
    """Read-only, without capabilities or new privileges; the key is a secret; nothing that old composers refuse."""
    for line in ("read_only: true", "cap_drop: [ALL]", '"no-new-privileges:true"', "imagerouter_api_key"):
        assert line in COMPOSE
    assert not re.search(r"^\s*(version|deploy):", COMPOSE, re.MULTILINE)
    assert "IMAGEROUTER_API_KEY:" not in COMPOSE
    assert re.search(r"stop_grace_period: 78s", COMPOSE)
