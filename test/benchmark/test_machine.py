"""The description of the machine and its libraries, and the load of other processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from busy import busy_processes

from bisenet_ros.benchmark.machine import (
    BUSY,
    CpuLoad,
    describe_machine,
    effective_instructions,
    instruction_set,
    watch,
)


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx"])
def test_libraries(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / f"{name.replace('-', '_')}-10.13.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 10.13.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    libraries = describe_machine()["libraries"]
    assert isinstance(libraries, dict)
    assert libraries["torch"] == torch.__version__
    assert libraries[name] == "10.13.0"


@pytest.mark.parametrize(
    ("capability", "flags", "limit", "expected"),
    [
        ("AVX2", "avx2", "", "AVX2"),
        ("AVX2", "avx2 avx_vnni", "", "AVX2, VNNI"),
        ("AVX2", "avx2 avx_vnni", "AVX2", "AVX2"),
        ("AVX512", "avx512f", "", "AVX512"),
        ("AVX512", "avx512f avx512_vnni avx512_bf16", "", "AVX512, VNNI, BF16"),
        ("AVX512", "avx512f avx512_vnni avx512_bf16 amx_tile", "ALL", "AVX512, VNNI, BF16, AMX"),
        (
            "AVX512",
            "avx512f avx512_vnni avx512_bf16 amx_tile",
            "avx512_core_bf16",
            "AVX512, VNNI, BF16",
        ),
        ("AVX512", "avx512f avx512_vnni avx512_bf16", "AVX512_CORE_VNNI", "AVX512, VNNI"),
        # As with ATEN_CPU_CAPABILITY=avx2.
        ("AVX2", "avx512f avx512_vnni avx512_bf16", "AVX2", "AVX2"),
        ("AVX2", "avx512f avx512_vnni avx512_bf16", "", "AVX2"),
    ],
)
def test_effective_instructions(capability: str, flags: str, limit: str, expected: str) -> None:
    assert effective_instructions(capability, flags.split(), limit) == expected


def test_instruction_set_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    base = torch.backends.cpu.get_cpu_capability()
    assert instruction_set().startswith(base)
    assert describe_machine()["instruction_set"] == instruction_set()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # oneDNN's kernels without any extension
    assert instruction_set() == base


SPIN = "import time\nwhile time.process_time() < 0.6: pass"  # os.times is rounded


def test_busy_processes_are_seen_and_named() -> None:
    with busy_processes() as pids:
        load = watch(1.0)
        assert load.others() > BUSY
        assert any(f"({pid})" in load.busiest(100) for pid in pids)


def test_children_that_were_waited_for_are_ours() -> None:
    cores = psutil.cpu_count()
    idle, ours, started = psutil.cpu_times().idle, sum(os.times()[:4]), time.monotonic()
    load = CpuLoad()
    children = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(cores)]
    assert [child.wait() for child in children] == [0] * cores
    others = load.others()
    available = cores * (time.monotonic() - started)
    idle, ours = psutil.cpu_times().idle - idle, sum(os.times()[:4]) - ours
    assert ours >= 0.5 * cores
    # If ours were counted as others', others would have all time that is not idle. Half of ours
    # is a tolerance for differences between the kernel's clocks.
    assert others * available + idle < available - ours / 2
