"""The image: what it is built of, what it holds, as whom it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scenarios.docker.conftest import Gateway
from tests.scenarios.docker.engine import HADOLINT, Engine, needed, wait_until
from tests.scenarios.docker.project import ROOT, clone
from tests.test_packaging import EXTRAS_PACKAGES_MAX, PACKAGES_MAX, pinned

pytestmark = pytest.mark.scenario

INSTALLED_BYTES_MAX = 80_000_000
LIBRARIES = "/opt/irg/lib/python3.13/site-packages"

# Listens on port 8000 of every address: as /proc/net/tcp writes it, state and all.
EVERYWHERE = "00000000:1F40 00000000:0000 0A"


def in_image(engine: Engine, image: str, script: str) -> str:
    """What a shell prints in a fresh container without any network."""
    return engine.docker("run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", script)


def test_the_dockerfile_pleases_the_linter() -> None:
    """hadolint, every rule."""
    done = Engine(ROOT).run(needed(HADOLINT), "Dockerfile", check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_wrong_hash_ends_the_build(engine: Engine, base: str, tmp_path: Path) -> None:
    """A package that is not what the lock says is not installed."""
    del base
    clone(tmp_path)
    lock = tmp_path / "requirements.lock"
    first, _, rest = lock.read_text("utf-8").partition("\n\n")
    text = first + "\n\n" + rest
    spoilt = "\n".join(_other_hash(line) for line in text.splitlines())
    lock.write_text(spoilt + "\n", "utf-8")
    with pytest.raises(AssertionError, match="DO NOT MATCH THE HASHES"):
        engine.build(tmp_path, "spoilt")


def _other_hash(line: str) -> str:
    before, mark, digest = line.partition("--hash=sha256:")
    return before + mark + "0" * 64 + digest[64:] if mark else line


def test_the_classic_builder_makes_it_as_well(engine: Engine, image: str, tmp_path: Path) -> None:
    """Older engines have no BuildKit; the packages and the code are the same."""
    clone(tmp_path)
    engine.build(tmp_path, "classic", buildkit=False)
    listed = f"cd {LIBRARIES} && find . -name '*.py' -path './app/*' -o -name '*.dist-info' | sort"
    assert in_image(engine, "classic", listed) == in_image(engine, image, listed)


def test_the_packages_are_those_of_the_lock_few_and_small(engine: Engine, image: str) -> None:
    """Version by version; at most 40 packages, those of the extras, and 80 MB, without what Python compiled of them."""
    names = in_image(engine, image, f"ls {LIBRARIES} | grep dist-info").splitlines()
    installed = dict(name.removesuffix(".dist-info").lower().replace("_", "-").rsplit("-", 1) for name in names)
    locked = pinned()
    assert installed.items() <= locked.items()
    assert {name for name in locked if name not in installed} <= {"colorama", "tzdata"}  # for Windows only
    assert len(installed) <= PACKAGES_MAX + EXTRAS_PACKAGES_MAX
    size = in_image(engine, image, f"du -sb --exclude=__pycache__ --exclude=app {LIBRARIES}")
    assert int(size.split()[0]) <= INSTALLED_BYTES_MAX


def test_nothing_in_it_could_install_or_build_more(engine: Engine, image: str) -> None:
    """No pip, no copy of it, no compiler, no build backend; and no tests, secrets or repository came along."""
    commands = "for name in pip pip3 uv gcc cc g++ make git curl wget; do command -v $name; done; true"
    assert in_image(engine, image, commands) == ""
    script = 'for name in pip ensurepip setuptools wheel hatchling; do python -c "import $name" 2>&1 | tail -n 1; done'
    said = in_image(engine, image, script).splitlines()
    assert len(said) == 5
    assert all(line.startswith("ModuleNotFoundError") for line in said)
    assert (
        in_image(engine, image, "find / -xdev -name 'pip*.whl' -o -xdev -path '*/tests/conftest.py' 2>/dev/null; true")
        == ""
    )


def test_it_tells_what_it_is_made_of(engine: Engine, image: str) -> None:
    """The list was made in its build, is readable in it, and names every package of the lock and of the system."""
    document = json.loads(in_image(engine, image, "cat /opt/irg/sbom.cdx.json"))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    purls = {component["purl"] for component in document["components"]}
    names = in_image(engine, image, f"ls {LIBRARIES} | grep dist-info").splitlines()
    assert len([purl for purl in purls if purl.startswith("pkg:pypi/")]) == len(names)
    locked = {f"pkg:pypi/{name}@{version}" for name, version in pinned().items()}
    assert {purl for purl in purls if purl.startswith("pkg:pypi/")} <= locked
    wanted = "dpkg-query -W -f '${db:Status-Status} ${Package}\\n' | grep -c '^installed '"
    assert len([purl for purl in purls if purl.startswith("pkg:deb/debian/")]) == int(in_image(engine, image, wanted))
    assert any(purl.startswith("pkg:generic/python@3.13") for purl in purls)
    assert in_image(engine, image, "test -w /opt/irg/sbom.cdx.json || echo read-only") == "read-only"


def test_nothing_in_it_runs_at_every_start_of_python(engine: Engine, image: str) -> None:
    """No `.pth` file, in the gateway's environment nor in the interpreter's own, and no sitecustomize beside it.

    (The interpreter of the tests' base has Debian's sitecustomize, which hooks up a crash reporter that is not there.)
    """
    assert in_image(engine, image, "find /opt/irg /usr/local/lib/python3.13 -name '*.pth'") == ""
    assert in_image(engine, image, "find /opt/irg -name 'sitecustomize.py' -o -name 'usercustomize.py'") == ""


def test_nothing_in_it_could_raise_its_user(engine: Engine, image: str) -> None:
    """No file of the gateway's own is set-uid, and none carries capabilities; what the base brings is cut off by the
    compose file's `no-new-privileges`."""
    assert in_image(engine, image, "find /opt/irg /data -perm /6000; id -G") == "10001"


def test_everything_is_compiled_already(engine: Engine, image: str) -> None:
    """The container cannot write what it would compile, so a start would be slow each time."""
    missing = f"cd {LIBRARIES}/app && for f in *.py; do ls __pycache__/${{f%.py}}.cpython-313.pyc; done >/dev/null"
    assert in_image(engine, image, missing) == ""


def test_it_runs_as_a_user_who_may_write_only_to_its_volume(engine: Engine, image: str) -> None:
    """Also where nothing is hardened: uid 10001, /data its own and nobody else's."""
    assert in_image(engine, image, "id -u; id -g; stat -c '%u:%g %a' /data").split() == [
        "10001",
        "10001",
        "10001:10001",
        "700",
    ]
    places = "for place in / /opt/irg /etc /usr/local/bin; do test -w $place && echo $place; done; true"
    assert in_image(engine, image, places) == ""


def test_it_listens_where_a_published_port_leads(engine: Engine, image: str) -> None:
    """On every address of the container, port 8000: the engine's forwarding never comes from loopback."""
    key = "IMAGEROUTER_API_KEY=any-key-of-twenty-characters"
    name = engine.docker("run", "--detach", "--network=none", "--env", key, image)
    try:
        wait_until(lambda: EVERYWHERE in engine.docker("exec", name, "cat", "/proc/net/tcp"), "it listens")
    finally:
        engine.docker("rm", "--force", "--volumes", name)


def test_the_service_is_hardened(gateway: Gateway) -> None:
    """What the compose file asks for is what the engine does, seen from outside and from inside."""
    project = gateway.project
    host = json.loads(project.engine.inspect(project.container(), "{{json .HostConfig}}"))
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] is None
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["PidsLimit"] == 256
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "20m", "max-file": "5"}}
    status = project.engine.docker("exec", project.container(), "cat", "/proc/1/status").replace("\t", " ")
    for line in ("Uid: 10001 10001 10001 10001", "CapEff: 0000000000000000", "CapBnd: 0000000000000000"):
        assert line in status
    assert "NoNewPrivs: 1" in status


def test_the_volume_belongs_to_the_gateway_alone(gateway: Gateway) -> None:
    """A new volume takes owner and mode from the image; what is in it is for nobody else's eyes."""
    kept = gateway.project.kept()
    assert (kept.stat().st_uid, kept.stat().st_mode & 0o777) == (10001, 0o700)
    assert {path.stat().st_uid for path in kept.rglob("*")} == {10001}
    assert (kept / "admin-token").stat().st_mode & 0o777 == 0o600


def test_the_upstream_key_comes_from_a_secret_file(gateway: Gateway) -> None:
    """Its environment holds a path; the file is mounted read-only."""
    project = gateway.project
    environment = json.loads(project.engine.inspect(project.container(), "{{json .Config.Env}}"))
    assert "IMAGEROUTER_API_KEY_FILE=/run/secrets/imagerouter_api_key" in environment
    assert not any(value.startswith("IMAGEROUTER_API_KEY=") for value in environment)
    shown = project.engine.docker("exec", project.container(), "irg", "config", "show", "--json")
    assert project.upstream_key not in shown
