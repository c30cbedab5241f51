"""The page about stores, made of what the tests show: `python tests/stores_table.py` writes it anew."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "stores.md"
TESTS = ROOT / "tests" / "storage"

_HEAD = """\
# Where snapshots may be kept

This page is written by the tests (`python tests/stores_table.py`). Every store keeps one contract, and every store in
the first table passes the same tests of it: `nbckpt.testing.stores.StoreTests`, which you can inherit for a store of
your own.

| store | URL | a name is taken once | a blob is seen | when `saved` is said | tested on |
| --- | --- | --- | --- | --- | --- |
"""
_STORES = [
    (
        "a folder",
        "`path`, `file:///path`",
        "yes: a hard link; where there are none, by claiming the name first",
        "whole or not at all",
        "file and folder are on the disk (fsync)",
        [("test_stores.py", "TestLocal"), ("test_stores.py", "TestLocalWithoutLinks")],
    ),
    (
        "S3 and what speaks its protocol",
        "`s3://bucket/prefix`",
        "yes: `If-None-Match`; a server that ignores it is found out and refused",
        "whole or not at all: one PUT, with a checksum",
        "the server has acknowledged every object",
        [("test_s3.py", "TestMoto"), ("test_s3.py", "TestSeaweedFS")],
    ),
    (
        "SFTP",
        "`sftp://user@host/path`",
        "yes: a file is renamed onto nothing; a server that replaces is found out and refused",
        "whole or not at all: renamed in one step",
        "the server has closed the file; whether it is on its disk is the server's affair",
        [("test_filesystem.py", "TestSFTP")],
    ),
    (
        "memory of this process",
        "`memory://path`",
        "yes",
        "whole or not at all",
        "until the process ends: for tests",
        [("test_filesystem.py", "TestMemory")],
    ),
]
_REST = """\

Google Cloud Storage (`gs://`, with gcsfs) and Azure (`az://`, `abfs://`, with adlfs) are used as object stores: one
upload a blob, and creation on condition that there is none, as those packages document it. No server of theirs runs
in our tests; like every store, they are tried out before anything is saved.

Files of a megabyte and more in a folder are written around the page cache where the file system lets that happen, on
Linux: it leaves the processors to the loop and the memory to whoever needs it. A restore reads them from the disk.

Every other filesystem that fsspec knows (`ftp://`, `webdav://`, `smb://`, `hdfs://`, …) says that it cannot take a name
once, because none of them is known to. It is refused unless you vouch, with `?single_writer=true`, that never two runs
at once save under one name. Blobs are written under another name and moved; where moving is not one step, a kill can
leave a piece under the final name, which is noticed by its hash and never used.

## What is tried before anything is saved

When a run opens a store, it creates a small object twice and reads, lists and deletes it; in a new store on a server,
six threads also create one object at the same moment. What was found is written to `nbckpt.json` there.

| found | what happens | shown by |
| --- | --- | --- |
"""
_PROBED = [
    ("a name can be taken twice", "test_probe.py", "test_it_is_refused_and_nothing_is_left"),
    ("… and somebody vouches", "test_probe.py", "test_somebody_may_vouch_for_it"),
    ("… and a second run comes later", "test_probe.py", "test_a_second_run_that_comes_later_is_noticed_all_the_same"),
    ("a real server of that kind", "test_probe.py", "test_a_real_server_that_ignores_the_condition"),
    ("the store was moved to one", "test_probe.py", "test_a_store_that_lost_the_ability_is_refused"),
    ("it gives back something else", "test_probe.py", "test_a_server_that_loses_what_it_is_given_is_refused"),
]
_FAULTS_HEAD = """
## What a bad line does

Only "not found" means absent. Everything else is tried again, with growing pauses, and then raised. Each of these was
done to requests of a run that saves and loads, through a proxy before a real server (`nbckpt.testing.proxy`), and
nobody noticed; done to every request, it is an error and never an empty store
([one_fault_anywhere](../tests/storage/test_proxy.py), [unreachable_is_never_empty](../tests/storage/test_proxy.py)).

"""
_OPTIONS_HEAD = """
## Options of `s3://`

`s3://bucket/prefix?region=eu-central-1&storage_class=STANDARD_IA`. What is left open is found as by every program on
boto3: credentials, `AWS_PROFILE`, `AWS_ENDPOINT_URL`, region. The credentials need `s3:ListBucket` on the bucket, and
`s3:GetObject`, `s3:PutObject` and `s3:DeleteObject` on what is in it. Install it with `pip install 'nbckpt[s3]'`.

| option | meaning |
| --- | --- |
"""
OPTIONS = {
    "region": "the bucket's region",
    "endpoint_url": "the address of a server other than Amazon's: `https://host`, `http://host:port`",
    "profile": "a profile of your AWS configuration",
    "sse": "encryption by the server: `AES256` or `aws:kms`",
    "sse_kms_key_id": "the key for `aws:kms`",
    "storage_class": "as in `STANDARD_IA`; an archive that must be thawed first cannot be resumed from",
    "timeout": "seconds of silence after which a request is given up and tried again; 30",
    "single_writer": "`true`: never two runs at once save here, so a server that ignores `If-None-Match` will do",
}
_SFTP = """
Options of the others go to the fsspec filesystem as they are: `sftp://me@host/path?key_filename=/home/me/.ssh/id`
(`pip install 'nbckpt[sftp]'`). `timeout` and `single_writer` are there as well. A password has no place in a URL,
which is shown in messages and kept in notebooks: use a key, an agent, or `FSSPEC_SFTP_PASSWORD`.
"""


def page() -> str:
    """The whole page."""
    from nbckpt.testing.proxy import FAULTS

    stores = [_line(*cells, ", ".join(_link(file, name) for file, name in tests)) for *cells, tests in _STORES]
    probed = [_line(found, _says(file, name), _link(file, name)) for found, file, name in _PROBED]
    faults = [f"- {what}\n" for what in FAULTS.values()]
    options = [_line(f"`{name}`", meaning) for name, meaning in OPTIONS.items()]
    parts = [_HEAD, *stores, _REST, *probed, _FAULTS_HEAD, *faults, _OPTIONS_HEAD, *options, _SFTP]
    return "".join(parts)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def _link(file: str, name: str) -> str:
    return f"[{name.removeprefix('test_')}](../tests/storage/{file})"


def _says(file: str, name: str) -> str:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return (ast.get_docstring(found) or "").partition("\n")[0]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(page(), encoding="utf-8")
