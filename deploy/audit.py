"""Audits an environment that contains only serving (`make audit`).

    python deploy/audit.py build/serving/bin/python build/sbom.json

Writes an SBOM (CycloneDX), checks the licence of every package and of every library in a wheel, and looks every version
up in PyPI's advisories. Libraries that are linked into a wheel's binaries are not seen; some wheels list them in their
own `sboms` folder. Exit code 1: something is not allowed, or could not be checked.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

# As pip-licenses reports them. Except where noted, none requires more than keeping its notice.
LICENCES = {
    "0BSD",
    "3-Clause BSD License",
    "Apache Software License",
    "Apache Software License; MIT License",
    "Apache-2.0",
    "Apache-2.0 AND BSD-2-Clause",
    "Apache-2.0 OR BSD-2-Clause",
    "BSD License",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0",
    "LGPL-2.1-or-later",  # soxr: a separate module that can be replaced, as the LGPL requires
    "MIT",
    "MIT License",
    "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)",  # certifi: a list of certificates, distributed unchanged
    "MPL-2.0 AND MIT",  # tqdm: changes to its files would have to be published; there are none
    "PSF-2.0",
}

# Libraries that are separate files in wheels, and that no metadata names.
LIBRARIES = {
    "BSD or MIT": "SvtAv1Enc Xau dav1d drm opus scipy_openblas64_ sharpyuv vpl vpx webp webpmux "
    "xcb xcb-shape xcb-shm xcb-xfixes",
    "Apache-2.0": "opencore-amrnb opencore-amrwb",
    "LGPL": "asound avcodec avdevice avfilter avformat avutil gmp gnutls hogweed mp3lame nettle quadmath sndfile "
    "swresample swscale unistring",
    "GPL with GCC's exception": "gfortran",
    # In PyAV's wheel, and never called here: only encoders use them. Running them requires nothing; redistributing an
    # image with this wheel redistributes these two under the GPL, with an offer of their source.
    "GPL-2.0-or-later": "x264 x265",
}


def main() -> int:
    """Runs every check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", type=Path, help="Python interpreter of the environment")
    parser.add_argument("sbom", type=Path, help="SBOM file to write")
    options = parser.parse_args()
    listing = f"{options.python} -m pip list --format json --exclude maeum"
    installed = {package["name"]: package["version"] for package in json.loads(_run(*listing.split()))}
    problems = [
        *write_sbom(options.python, options.sbom, installed),
        *check_licences(options.python),
        *check_libraries(options.python),
        *check_advisories(installed, options.sbom.with_name("audited.txt")),
    ]
    print(*problems, f"{len(installed)} packages, {len(problems)} problems. SBOM: {options.sbom}", sep="\n")
    return int(bool(problems))


def write_sbom(python: Path, sbom: Path, installed: dict[str, str]) -> list[str]:
    """Writes a validated SBOM of the installed packages; returns a problem for each that it lacks."""
    sbom.parent.mkdir(parents=True, exist_ok=True)
    settings = "--pyproject pyproject.toml --output-reproducible --validate --output-format JSON --output-file"
    _run(_tool("cyclonedx-py"), "environment", str(python), *settings.split(), str(sbom))
    listed = {component["name"]: component["version"] for component in json.loads(sbom.read_text())["components"]}
    return [f"The SBOM lacks {name} {version}." for name, version in installed.items() if listed.get(name) != version]


def check_licences(python: Path) -> list[str]:
    """A problem for each package whose licence is not in `LICENCES`."""
    found = json.loads(_run(_tool("pip-licenses"), "--python", str(python), "--format", "json", "--with-system"))
    return [f"{row['Name']}: {row['License']} is not allowed." for row in found if row["License"] not in LICENCES]


def check_libraries(python: Path) -> list[str]:
    """A problem for each library in a wheel that is not in `LIBRARIES`; prints those under the GPL or LGPL."""
    known = {name: licence for licence, names in LIBRARIES.items() for name in names.split()}
    code = "import sysconfig; print(sysconfig.get_path('platlib'))"
    site = Path(_run(str(python), "-c", code).strip())
    problems = []
    for path in sorted([*site.glob("*.libs/*"), *site.glob("_soundfile_data/*.so")]):
        name = re.sub(r"(_x86_64|_arm64|[-_][0-9a-f]{8}.*)?\.so.*", "", path.name).removeprefix("lib").rstrip("-")
        if name not in known:
            problems.append(
                f"{path.parent.name} contains {path.name}, whose licence is not known: add it to LIBRARIES."
            )
        elif "GPL" in known[name]:
            print(f"{path.parent.name}: {name}, {known[name]}")
    return problems


def check_advisories(installed: dict[str, str], requirements: Path) -> list[str]:
    """A problem for each known vulnerability, and for packages that could not be checked."""
    requirements.write_text("".join(f"{name}=={version}\n" for name, version in installed.items()))
    command = [_tool("pip-audit"), "--format", "json", "--no-deps", "--disable-pip", "-r", str(requirements)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if not ended.stdout:
        return ["PyPI's advisories cannot be reached; run this on a machine with internet access."]
    found: list[dict[str, Any]] = json.loads(ended.stdout)["dependencies"]
    problems = [f"{row['name']} {row['version']}: {bad['id']}." for row in found for bad in row.get("vulns", [])]
    if unknown := [row["name"] for row in found if "skip_reason" in row]:
        problems.append(f"PyPI's advisories do not know {len(unknown)} packages: {', '.join(unknown)}.")
    return problems


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
