"""What of JAX takes more than one device, or another process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import needs

SAVE = """
import pickle, sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from nbckpt.state import pickling
sharding = NamedSharding(Mesh(np.array(jax.devices()), ("rows",)), PartitionSpec("rows"))
second = jax.device_put(jnp.ones(3), jax.devices()[1])
saved = pickling.dump({"rows": jax.device_put(jnp.arange(4.0), sharding), "second": second})
Path(sys.argv[1]).write_bytes(pickle.dumps((bytes(saved.stream), [bytes(buffer) for buffer in saved.buffers])))
"""
LOAD = """
import pickle, sys
from pathlib import Path
from nbckpt.state import adapters, home
stream, buffers = pickle.loads(Path(sys.argv[1]).read_bytes())
found = home.load(stream, [bytearray(buffer) for buffer in buffers], home.Home({}))[0]
print(found["rows"].tolist(), found["second"].tolist())
print(len(found["rows"].devices()), [device.id for device in found["second"].devices()], adapters.take_said())
"""


def _run(code: str, file: Path, devices: int) -> list[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("devices", [2, 1])
def test_arrays_on_several_devices(tmp_path: Path, devices: int) -> None:
    """They are spread over the same devices; where some are missing that is said, and the values are there."""
    needs("jax")
    _run(SAVE, tmp_path / "saved", 2)
    values, places = _run(LOAD, tmp_path / "saved", devices)
    assert values == "[0.0, 1.0, 2.0, 3.0] [1.0, 1.0, 1.0]"
    if devices == 2:
        assert places == "2 [1] []"
    else:
        assert places.startswith("1 [0] [")
        assert "there is no device cpu:1 here" in places
