"""CPU threads follow affinity and cgroup quotas; bf16 is native where the CPU has it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from bisenet_ros.inference.cpu import cpu_quota, default_threads

V2 = "31 23 0:28 {top} {point} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 {top} {point} rw - cgroup cgroup rw,cpu,cpuacct\n"
V1_MEMORY = "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
V1_POINT = "/sys/fs/cgroup/cpu,cpuacct"


def machine(root: Path, cgroup: str, mounts: str, files: dict[str, str]) -> Path:
    """Make a root folder with ``files`` below sys/fs/cgroup."""
    written = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts}
    written |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in written.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def v2(root: Path, path: str, files: dict[str, str], top: str = "/") -> Path:
    return machine(root, f"0::{path}\n", V2.format(top=top, point="/sys/fs/cgroup"), files)


def v1(root: Path, path: str, files: dict[str, str], top: str = "/") -> Path:
    cgroup = f"5:memory:/\n4:cpu,cpuacct:{path}\n"
    mounts = V1_MEMORY + V1.format(top=top, point=V1_POINT)
    return machine(root, cgroup, mounts, {f"cpu,cpuacct/{k}": text for k, text in files.items()})


@pytest.mark.parametrize(
    ("content", "quota"),
    [
        ("150000 100000\n", 1.5),
        ("50000 100000\n", 0.5),
        ("200000 50000\n", 4.0),
        ("max 100000\n", None),
        ("max\n", None),
        ("", None),
        ("many 100000\n", None),
        ("100000 0\n", None),
        ("-1 100000\n", None),
        ("100000\n100000 100000\n", None),
    ],
)
def test_v2_of_a_container_with_its_own_namespace(
    tmp_path: Path, content: str, quota: float | None
) -> None:
    assert cpu_quota(v2(tmp_path, "/", {"cpu.max": content})) == quota


def test_v2_the_smallest_of_nested_quotas(tmp_path: Path) -> None:
    files = {
        "robot.slice/cpu.max": "300000 100000",
        "robot.slice/camera.slice/cpu.max": "100000 100000",
        "robot.slice/camera.slice/node.service/cpu.max": "200000 100000",
        "other.slice/cpu.max": "10000 100000",
    }
    service = "/robot.slice/camera.slice/node.service"
    assert cpu_quota(v2(tmp_path, service, files)) == 1.0
    assert cpu_quota(v2(tmp_path, service, {"robot.slice/cpu.max": "90000 100000"})) == 0.9
    (tmp_path / "sys/fs/cgroup/robot.slice/cpu.max").write_text("max 100000")
    (tmp_path / "sys/fs/cgroup/robot.slice/camera.slice/cpu.max").write_text("unreadable")
    assert cpu_quota(tmp_path) == 2.0


def test_v2_mounted_from_below_its_root(tmp_path: Path) -> None:
    """As in a container with the host's cgroup names that sees only its own cgroup."""
    files = {"cpu.max": "400000 100000", "job/cpu.max": "250000 100000"}
    assert cpu_quota(v2(tmp_path, "/docker/3f/job", files, top="/docker/3f")) == 2.5


def test_v2_named_from_another_namespace(tmp_path: Path) -> None:
    files = {"cpu.max": "200000 100000"}
    assert cpu_quota(v2(tmp_path, "/pod/a", files, top="/../b")) == 2.0


def test_v2_name_with_a_backslash(tmp_path: Path) -> None:
    """systemd escapes dashes in names with backslashes, which mountinfo escapes again."""
    files = {"cpu.max": "100000 100000"}
    assert cpu_quota(v2(tmp_path, "/a\\x2db.slice", files, top="/a\\134x2db.slice")) == 1.0


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        ("150000\n", "100000\n", 1.5),
        ("-1\n", "100000\n", None),
        ("150000\n", "0\n", None),
        ("150000\n", "", None),
        ("", "", None),
    ],
)
def test_v1(tmp_path: Path, quota: str, period: str, expected: float | None) -> None:
    files = {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": period}
    assert cpu_quota(v1(tmp_path, "/", files)) == expected


def test_v1_the_smallest_of_nested_quotas(tmp_path: Path) -> None:
    files = {
        "cpu.cfs_quota_us": "200000",
        "cpu.cfs_period_us": "100000",
        "job/cpu.cfs_quota_us": "-1",
        "job/cpu.cfs_period_us": "100000",
    }
    assert cpu_quota(v1(tmp_path, "/docker/3f/job", files, top="/docker/3f")) == 2.0


def test_hybrid_has_both(tmp_path: Path) -> None:
    """The cpu controller in v1, and v2 beside it without controllers or with another quota."""
    mounts = V1.format(top="/", point=V1_POINT)
    mounts += V2.format(top="/", point="/sys/fs/cgroup/unified")
    files = {
        "cpu,cpuacct/a/cpu.cfs_quota_us": "300000",
        "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
        "unified/b/cgroup.procs": "1",
    }
    root = machine(tmp_path, "4:cpu,cpuacct:/a\n0::/b\n", mounts, files)
    assert cpu_quota(root) == 3.0
    (root / "sys/fs/cgroup/unified/b/cpu.max").write_text("200000 100000")
    assert cpu_quota(root) == 2.0


def test_no_limit_without_cgroups_or_with_damaged_files(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    quota = {"cpu.max": "100000 100000"}
    assert cpu_quota(machine(tmp_path, "nonsense\n0\n", "x y\n - cgroup2\n", quota)) is None
    v2(tmp_path, "/", quota)
    assert cpu_quota(tmp_path) == 1.0
    (tmp_path / "proc/self/mountinfo").write_bytes(b"\xff\xfe")
    assert cpu_quota(tmp_path) is None
    (tmp_path / "proc/self/mountinfo").unlink()
    (tmp_path / "proc/self/mountinfo").mkdir()  # cannot be read
    assert cpu_quota(tmp_path) is None


def test_threads_are_the_quota_rounded_up(tmp_path: Path) -> None:
    without = default_threads(tmp_path)
    assert 1 <= without <= len(os.sched_getaffinity(0))
    for quota, threads in ((1, 1), (50_000, 1), (100_000, 1), (100_001, 2), (10**12, without)):
        root = v2(tmp_path, "/", {"cpu.max": f"{quota} 100000"})
        assert default_threads(root) == min(threads, without)


def output(program: str, *arguments: object, **environment: str) -> str:
    """Run a program in its own process and return its output."""
    limits = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
    inherited = {name: value for name, value in os.environ.items() if name not in limits}
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**inherited, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


ON_ONE_CORE = """
import os
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
"""


def test_threads_follow_the_affinity() -> None:
    program = (
        ON_ONE_CORE
        + "from bisenet_ros.inference.cpu import default_threads; print(default_threads())"
    )
    assert output(program) == "1"


TORCH_BACKEND = """
import sys
from pathlib import Path
import torch
from bisenet_ros.model import file as model_file
from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.torch_backend import TorchBackend

model = model_file.load(Path(sys.argv[1]))
torch.set_num_threads(3)
options = EngineOptions(resolution=(64, 32), device="cpu", precision="fp32")
print(TorchBackend(model, options).threads)
"""


def test_the_torch_backend_takes_the_threads_that_it_may_use(tiny_model: Path) -> None:
    assert output(ON_ONE_CORE + TORCH_BACKEND, tiny_model) == "1"


NATIVE_BF16 = "from bisenet_ros.inference.cpu import has_native_bf16; print(has_native_bf16())"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads the flags of an x86 CPU")
def test_native_bf16_is_what_the_cpu_has() -> None:
    native = "avx512_bf16" in Path("/proc/cpuinfo").read_text().split()
    assert output(NATIVE_BF16) == str(native)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="limits the instructions of an x86 CPU")
def test_bf16_is_not_native_where_its_instructions_may_not_be_used() -> None:
    assert output(NATIVE_BF16, ONEDNN_MAX_CPU_ISA="AVX2", ATEN_CPU_CAPABILITY="avx2") == "False"


def test_importing_it_is_cheap() -> None:
    program = (
        "import sys, bisenet_ros.inference.cpu; "
        "print(sorted({'torch', 'rclpy'} & sys.modules.keys()))"
    )
    assert output(program) == "[]"
