"""Whether this machine is one that is told of its end: what can be seen without asking anybody."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

AZURE_TAG = "7783-7084-3265-9085-8269-3286-77"
"""The asset tag of every machine of Azure's, and of no other that runs on Hyper-V."""

FIRMWARE = {
    "aws": {"sys_vendor": "Amazon EC2", "bios_vendor": "Amazon EC2"},
    "gcp": {"product_name": "Google Compute Engine"},
    "azure": {"chassis_asset_tag": AZURE_TAG},
}
"""What the firmware says of itself, by the files in which Linux shows it."""

VARIABLES = {
    "aws": ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_BATCH_JOB_ID", "AWS_EXECUTION_ENV"),
    "gcp": ("GCE_METADATA_HOST",),
    "azure": ("NBCKPT_AZURE_METADATA", "AZ_BATCH_NODE_ID", "AZUREML_RUN_ID"),
    "slurm": ("SLURM_JOB_ID",),
}


def seen(environ: Mapping[str, str], root: Path = Path("/")) -> list[str]:
    """Return which of `aws`, `gcp`, `azure` and `slurm` this is, as far as the firmware and the environment say."""
    firmware = root / "sys/class/dmi/id"
    found = []
    for kind, names in VARIABLES.items():
        said = any(environ.get(name) for name in names)
        if said or any(_text(firmware / file).startswith(text) for file, text in FIRMWARE.get(kind, {}).items()):
            found.append(kind)
    if "aws" not in found and _text(root / "sys/hypervisor/uuid").startswith("ec2"):  # the older ones, under Xen
        found.append("aws")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""  # not Linux, or a container that does not show it: then nobody is asked
