"""`python -m app.cli.sbom FILE`: what this installation is made of, as CycloneDX 1.6 JSON. Run by the image's build.

Made of what is really there: the metadata of every installed distribution, the interpreter, and the packages of the
system (Debian's `dpkg` status), where there are such. No tool is installed for it, so nothing is added to what it
lists; the same installation gives the same bytes. Source: https://cyclonedx.org/docs/1.6/json/.
"""

from __future__ import annotations

import json
import platform
import re
import sys
import urllib.parse
import uuid
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from app import __version__

NAME = "imagerouter-gateway"
SPEC_VERSION = "1.6"
DPKG_STATUS = Path("/var/lib/dpkg/status")

_SEPARATORS = re.compile(r"[-_.]+")
_WANTED = re.compile(r"[A-Za-z0-9._-]+")

Component = dict[str, Any]


def sbom(dpkg_status: Path = DPKG_STATUS) -> dict[str, Any]:
    """The document: the gateway, its Python packages and who needs whom, the interpreter, the system's packages."""
    gateway = _component("application", NAME, __version__, f"pkg:pypi/{NAME}@{__version__}", "MIT")
    packages = {name: one for one in distributions() if (name := _canonical(one.name)) != NAME}
    refs = {name: f"pkg:pypi/{name}@{one.version}" for name, one in sorted(packages.items())}
    python = _component("platform", "python", platform.python_version(), f"pkg:generic/python@{sys.version.split()[0]}")
    components = [_package(name, packages[name], ref) for name, ref in refs.items()]
    components += [python, *_system(dpkg_status)]
    needs = {ref: _needed(packages[name], refs) for name, ref in refs.items()}
    needs[gateway["bom-ref"]] = sorted(refs.values())
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": {"component": gateway},
        "components": components,
        "dependencies": [{"ref": ref, "dependsOn": on} for ref, on in sorted(needs.items())],
    }
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True)).urn
    return document


def _component(kind: str, name: str, version: str, purl: str, license_text: str | None = None) -> Component:
    made: Component = {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if license_text:
        made["licenses"] = [{"license": {"name": license_text}}]
    return made


def _package(name: str, distribution: Distribution, ref: str) -> Component:
    metadata = distribution.metadata
    stated = [*metadata.get_all("License-Expression", []), *metadata.get_all("License", [])]
    told = next(iter(stated), "")
    named = [line.rpartition(":: ")[2] for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    license_text = told if told and "\n" not in told else ", ".join(named)
    return _component("library", name, distribution.version, ref, license_text or None)


def _needed(distribution: Distribution, refs: dict[str, str]) -> list[str]:
    """The installed ones among what it asks for, those of its extras left out."""
    asked = [line for line in distribution.requires or () if "extra ==" not in line]
    names = {_canonical(found[0]) for line in asked if (found := _WANTED.match(line))}
    return sorted(refs[name] for name in names & refs.keys())


def _canonical(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()


def _system(status: Path) -> Iterator[Component]:
    """The packages that are installed by dpkg, if this is a system that has it."""
    if not status.is_file():
        return
    for paragraph in status.read_text("utf-8").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Architecture|Status): (.+)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            name, version = fields["Package"], fields["Version"]
            purl = f"pkg:deb/debian/{name}@{urllib.parse.quote(version, safe='')}?arch={fields['Architecture']}"
            yield _component("library", name, version, purl)


def main() -> int:
    if len(sys.argv) != 2:
        sys.stderr.write("Write: python -m app.cli.sbom FILE\n")
        return 2
    Path(sys.argv[1]).write_text(json.dumps(sbom(), indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
