"""Properties of the Dockerfile and the compose file that can be checked without Docker."""

import fnmatch
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings
from tests.support import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
UNITS = {"m": 2**20, "g": 2**30}


def size(text: str) -> int:
    """A size such as 600m, in bytes."""
    return int(text[:-1]) * UNITS[text[-1]]


def field(name: str) -> Any:
    return Settings.model_fields[name].default


def of_context(instruction: str) -> list[str]:
    """The paths that a COPY takes from the repository; none if it copies from another stage."""
    return [] if "--from=" in instruction else instruction.split()[1:-1]


COPIED = [path for line in DOCKERFILE.splitlines() if line.startswith("COPY ") for path in of_context(line)]


@pytest.mark.parametrize("text", [DOCKERFILE, COMPOSE_TEXT], ids=["Dockerfile", "docker-compose.yml"])
def test_every_variable_is_a_setting(text: str) -> None:
    known = {f"MAEUM_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"MAEUM_[A-Z_]+", text)) <= known


def test_the_image_requires_keys_by_default() -> None:
    assert "MAEUM_WITHOUT_KEYS" not in DOCKERFILE and "MAEUM_HOST=0.0.0.0" in DOCKERFILE


def test_the_image_has_the_version_of_the_project() -> None:
    assert re.findall(r"^ARG VERSION=(.+)$", DOCKERFILE, re.M) == [PROJECT["version"]]


def test_the_image_runs_as_an_unprivileged_user() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.M) == ["10001:10001"]


def test_the_image_installs_extras_that_exist() -> None:
    extras = re.findall(r"dependencies (\S+) \${PACKAGES}$", DOCKERFILE, re.M)
    assert extras == ["cpu,traces", "gpu,traces"]
    assert {name for extra in extras for name in extra.split(",")} <= PROJECT["optional-dependencies"].keys()


def test_a_new_revision_changes_no_layer() -> None:
    for image in re.split(r"^FROM ", DOCKERFILE, flags=re.M)[1:]:
        before, _, after = image.partition("ARG VERSION\n")
        assert "REVISION" not in before
        assert not re.search(r"^(RUN|COPY) ", after, re.M)


def test_the_image_lists_the_licences_of_its_contents() -> None:
    every, gpu = (set(text.split(" AND ")) for text in re.findall(r'image\.licenses="(.+)"', DOCKERFILE))
    (manifest,) = (ROOT / "model_store/starter").glob("*/manifest.json")
    starter = json.loads(manifest.read_text(encoding="utf-8"))["license"]
    # x264 and x265 in PyAV's wheel, and its FFmpeg
    assert every == {PROJECT["license"], starter, "GPL-2.0-or-later", "LGPL-3.0-or-later"}
    assert gpu == every | {"LicenseRef-NVIDIA"}


def test_the_default_target_is_cpu() -> None:
    assert re.findall(r"^FROM .* AS (\S+)$", DOCKERFILE, re.M)[-1] == "cpu"


def test_the_build_context_is_what_the_dockerfile_copies() -> None:
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.M)
    assert COPIED
    for path in COPIED:
        assert (ROOT / path).exists(), path
        assert any(fnmatch.fnmatch(path, pattern) for pattern in allowed), path
    for pattern in allowed:
        assert any(fnmatch.fnmatch(path, pattern) for path in COPIED), pattern


def test_without_a_profile_only_the_gpu_service_runs() -> None:
    # --profile replaces .env's profiles; a service without a profile would run regardless.
    profiles = {name: service["profiles"] for name, service in SERVICES.items()}
    assert profiles == {
        "maeum": ["gpu"],
        "maeum-cpu": ["cpu"],
        "prometheus": ["observability"],
        "grafana": ["observability"],
    }
    lines = (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["COMPOSE_PROFILES=gpu"]


def test_each_service_runs_its_own_image() -> None:
    assert {name: service["build"]["target"] for name, service in OURS.items()} == {"maeum": "gpu", "maeum-cpu": "cpu"}
    assert OURS["maeum"]["environment"]["MAEUM_PROVIDER"] == "cuda"
    (device,) = OURS["maeum"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert "reservations" not in OURS["maeum-cpu"]["deploy"]["resources"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["deploy"]["resources"]["limits"].keys() == {"memory", "pids"}
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "build" in service or re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"])


@pytest.mark.parametrize("name", OURS)
def test_a_service_has_enough_memory_and_time_to_stop(name: str) -> None:
    service = OURS[name]
    assert int(service["stop_grace_period"].removesuffix("s")) > field("drain_s") + field("grace_s")
    (tmpfs,) = service["tmpfs"]
    scratch = size(re.findall(r"size=(\w+)", tmpfs)[0])
    assert tmpfs.startswith("/tmp:")
    memory = size(service["deploy"]["resources"]["limits"]["memory"])
    needed = field("decoders") * field("decode_memory_bytes") + field("max_upload_bytes") + scratch + 2**30
    assert memory >= needed


@pytest.mark.parametrize("name", SERVICES)
def test_mounts_are_read_only_and_exist(name: str) -> None:
    for volume in SERVICES[name]["volumes"]:
        source, _, rest = re.sub(r"\$\{\w+:-(.+?)\}", r"\1", volume).partition(":")
        if not source.startswith("./"):
            assert source in COMPOSE["volumes"]
            continue
        assert rest.endswith(":ro"), volume
        folder = ROOT.joinpath(*Path(source).parts[:2])
        assert (ROOT / source).exists() or not folder.exists(), volume


def test_there_is_no_password() -> None:
    for text in (DOCKERFILE, COMPOSE_TEXT, (ROOT / ".env").read_text(encoding="utf-8")):
        assert not re.search(r"(?i)(password|token|secret\w*)\s*[=:]\s*[^\s#&*\[{]", text)
