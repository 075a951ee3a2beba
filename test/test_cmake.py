"""CMakeLists.txt configures with ROS 2 from distribution packages."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_prefix

SOURCE = Path(__file__).parents[1]
NUMPY = "${Python3_INCLUDE_DIRS} ${Python3_NumPy_INCLUDE_DIRS}"


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    """Return upstream's rosidl_generator_py: the PyPI wheel's exports NumPy's folder as well."""
    prefix = Path(get_package_prefix("rosidl_generator_py"))
    share = tmp_path / "share/rosidl_generator_py"
    shutil.copytree(prefix / "share/rosidl_generator_py", share)
    (tmp_path / "lib").symlink_to(prefix / "lib")
    script = share / "cmake/rosidl_generator_py_generate_interfaces.cmake"
    text = script.read_text()
    script.write_text(text.replace(f"PUBLIC {NUMPY}", f"PRIVATE {NUMPY}"))
    assert f"PUBLIC {NUMPY}" not in script.read_text()
    return script.parent


def test_configures_without_numpy_exported_by_rosidl(generator: Path, tmp_path: Path) -> None:
    line = ["cmake", "-S", str(SOURCE), "-B", str(tmp_path / "build")]
    line += [f"-Drosidl_generator_py_DIR={generator}", f"-DPython3_EXECUTABLE={sys.executable}"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(generator) in (tmp_path / "build/CMakeCache.txt").read_text()
    assert "has no PyTorch" not in done.stderr
