"""``deploy/Dockerfile``: what it copies is there, what it installs is locked. No image is built."""

import re
import tomllib
from pathlib import Path

from tests.deploy.files import DEPLOY, ROOT, pins

TEXT = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
LINES = re.sub(r"\\\n\s*", "", TEXT).splitlines()
ROOMS = {
    name.split(".")[0]
    for name in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]["packages"]
}


def copied() -> set[str]:
    found = [line.split()[1:] for line in LINES if line.startswith("COPY ")]
    return {word for words in found if "--from=build" not in words for word in words[:-1]}


def test_what_is_copied_is_there_and_every_room_is_copied() -> None:
    assert all((ROOT / name).exists() for name in copied())
    assert copied() >= ROOMS


def test_what_is_copied_is_let_through_and_no_secret_is() -> None:
    text = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8")
    rules = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied()
    assert "**/.env" in rules


def test_images_are_pinned_to_a_release_and_are_one() -> None:
    images = {line.split()[1] for line in LINES if line.startswith("FROM ")}
    (image,) = images
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", image)


def test_it_runs_as_nobody_in_particular_and_is_watched() -> None:
    assert [line for line in LINES if line.startswith("USER ")] == ["USER 10001:10001"]
    after = TEXT.index("USER 10001")
    assert "RUN " not in TEXT[after:]
    assert "\nHEALTHCHECK " in TEXT
    assert '\nCMD ["wavehouse", "serve"' in TEXT


def test_dependencies_are_those_of_the_lock() -> None:
    syncs = [line for line in LINES if " uv sync " in f" {line} "]
    assert len(syncs) == 2
    assert all("--frozen --no-dev --extra clickhouse --extra postgres" in line for line in syncs)
    version = re.search(r"UV_VERSION := ([\d.]+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert version is not None
    assert f"uv=={version[1]}" in TEXT


def test_what_the_image_has_beyond_the_lock_is_pinned_with_hashes_and_fits_it() -> None:
    text = (DEPLOY / "requirements.txt").read_text(encoding="utf-8")
    assert text.count("==") == len(pins())
    for block in re.split(r"\n(?=[a-z])", text)[1:]:
        assert "--hash=sha256:" in block
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    locked = {package["name"]: package.get("version") for package in lock["package"]}
    both = set(pins()) & set(locked)  # the lock's peers have some of them too
    assert {n: pins()[n] for n in both} == {n: locked[n] for n in both}, "run deploy/lock.sh again"
    minor = {name: version for name, version in pins().items() if name.startswith("dagster-")}
    assert set(minor) == {"dagster-celery", "dagster-k8s", "dagster-postgres"}
    # Dagster's parts are released together: 1.13.27 with 0.29.27
    assert {version.split(".")[-1] for version in minor.values()} == {
        str(locked["dagster"]).split(".")[-1]
    }
    asked = Path(DEPLOY / "requirements.in").read_text(encoding="utf-8")
    assert all(f"=={version}" in asked for version in minor.values())
