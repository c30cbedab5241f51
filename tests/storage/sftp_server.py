"""An SFTP server on loopback: `python sftp_server.py FOLDER` makes a key in it, serves its `data`, says the port."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import asyncssh


class Files(asyncssh.SFTPServer):  # type: ignore[misc]
    def __init__(self, channel: Any) -> None:
        super().__init__(channel, chroot=os.fsencode(Path(sys.argv[1]) / "data"))

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """As OpenSSH does it: in one step, onto nothing."""
        old, new = self.map_path(oldpath), self.map_path(newpath)
        try:
            os.link(old, new)
        except FileExistsError as error:
            raise asyncssh.SFTPFailure(str(error)) from error
        os.unlink(old)  # noqa: PTH108 - bytes


async def serve(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(folder / "id"))
    key.write_public_key(str(folder / "id.pub"))
    listening = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[key], authorized_client_keys=str(folder / "id.pub"), sftp_factory=Files
    )
    print(listening.get_port(), flush=True)
    await listening.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
