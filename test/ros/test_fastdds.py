import fcntl
import os
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bisenet_ros.ros.fastdds import (
    NEEDED_BYTES,
    OWN_SETTINGS,
    profile_environment,
    remove_stale_segments,
    shm_unavailable_reason,
)

NAMESPACE = "{http://www.eprosima.com}"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_both_versions_are_given_the_same_file(tmp_path: Path) -> None:
    found = profile_environment({"HOME": "/root"}, shared_memory=tmp_path)
    assert set(found) == {"FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"}
    (path,) = {Path(value) for value in found.values()}
    assert path.is_absolute()
    root = ElementTree.parse(path).getroot()
    size = root.find(f".//{NAMESPACE}transport_descriptor/{NAMESPACE}segment_size")
    assert size is not None
    assert size.text is not None
    assert 2 * int(size.text) == NEEDED_BYTES
    types = [e.text for e in root.iterfind(f".//{NAMESPACE}transport_descriptor/{NAMESPACE}type")]
    assert sorted(filter(None, types)) == ["SHM", "UDPv4"]


@pytest.mark.parametrize(
    ("package", "variable"),
    [
        ("fastrtps", "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ("fastdds", "FASTDDS_DEFAULT_PROFILES_FILE"),
    ],
)
def test_the_version_that_is_installed_is_given_its_own(
    tmp_path: Path, package: str, variable: str
) -> None:
    (tmp_path / "ros" / "share" / package).mkdir(parents=True)
    environ = {"AMENT_PREFIX_PATH": f"{tmp_path}/overlay:{tmp_path}/ros"}
    assert list(profile_environment(environ, shared_memory=tmp_path)) == [variable]


def test_other_middleware_needs_no_profile(tmp_path: Path) -> None:
    cyclone = {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}
    assert profile_environment(cyclone, shared_memory=tmp_path) == {}
    assert (
        shm_unavailable_reason(cyclone)
        == "RMW_IMPLEMENTATION is rmw_cyclonedds_cpp, which is not Fast DDS"
    )
    fast = {"RMW_IMPLEMENTATION": "rmw_fastrtps_dynamic_cpp"}
    assert shm_unavailable_reason(fast, shared_memory=tmp_path) == ""


@pytest.mark.parametrize("name", OWN_SETTINGS)
def test_a_setting_of_the_users_own_stays(tmp_path: Path, name: str) -> None:
    assert profile_environment({name: "mine"}, shared_memory=tmp_path) == {}
    assert shm_unavailable_reason({name: "mine"}, shared_memory=tmp_path).startswith(
        f"{name} is set"
    )


def test_a_profile_in_the_working_directory_stays(tmp_path: Path) -> None:
    assert shm_unavailable_reason({}, shared_memory=tmp_path) == ""
    Path("DEFAULT_FASTDDS_PROFILES.xml").touch()
    assert shm_unavailable_reason({}, shared_memory=tmp_path).startswith(
        "DEFAULT_FASTDDS_PROFILES.xml is in"
    )
    assert profile_environment({}, shared_memory=tmp_path) == {}


def test_without_shared_memory_the_default_stays(tmp_path: Path) -> None:
    assert profile_environment({}, shared_memory=tmp_path / "none") == {}
    # /proc has no room at all, as the shared memory of a small container has too little
    assert profile_environment({}, shared_memory=Path("/proc")) == {}
    line = shm_unavailable_reason({}, shared_memory=Path("/proc"))
    assert line.startswith("/proc has 0 MiB free and 128 are needed: ")
    assert "there is no " in shm_unavailable_reason({}, shared_memory=tmp_path / "none")


def test_segments_of_killed_processes_are_removed(tmp_path: Path) -> None:
    def segment(name: str, age_s: float = 60.0) -> Path:
        path = tmp_path / name
        path.write_bytes(b"x" * 1000)
        lock = tmp_path / f"{name}_el"
        lock.touch()
        os.utime(lock, (time.time() - age_s,) * 2)
        return path

    stale = segment("fastrtps_0123456789abcdef")
    kept = [
        segment("fastrtps_0123456789abcde0"),
        segment("fastrtps_0123456789abcde1", age_s=1.0),
        segment("fastrtps_port7411"),
        segment("other_0123456789abcdef"),
    ]
    with (tmp_path / "fastrtps_0123456789abcde0_el").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert remove_stale_segments(tmp_path) == 1000
    assert not stale.exists()
    assert not (tmp_path / f"{stale.name}_el").exists()
    assert all(path.exists() and (tmp_path / f"{path.name}_el").exists() for path in kept)
    assert remove_stale_segments(tmp_path / "nowhere") == 0
