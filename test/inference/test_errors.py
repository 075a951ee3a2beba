"""What becomes of a library's errors."""

import pytest

from bisenet_ros.inference.errors import InferenceError, engine_errors


@pytest.mark.parametrize(
    ("engine", "device", "error", "message"),
    [
        (
            "torch",
            "cpu",
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            r"^torch failed on cpu \(Default.* tried\); if memory ran out, .*the resolution$",
        ),
        ("torch", "cpu", MemoryError(), r"^torch failed on cpu \(MemoryError\)"),
        (
            "torch",
            "cuda:0",
            RuntimeError("no kernel image is available\nand more"),
            r"cuda:0 \(no kernel image is available\); .* driver of cuda:0 fits torch$",
        ),
        (
            "openvino",
            "gpu",
            RuntimeError("Exception from src/a.cpp:1:\nCheck failed\nout of resources"),
            r"openvino failed on gpu \(out of resources\); .* driver of gpu fits openvino$",
        ),
    ],
)
def test_what_a_user_can_mend(engine: str, device: str, error: Exception, message: str) -> None:
    with pytest.raises(InferenceError, match=message), engine_errors(engine, device):
        raise error


def test_what_is_our_own_fault_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes"), engine_errors("torch", "cpu"):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
