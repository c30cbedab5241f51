"""The `nbckpt` command: what a store holds, from a terminal."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import NbckptError, OptionError
from ..settings import DEFAULT_STORE, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 if all is well, 1 if not, 2 for wrong use."""
    arguments = parser().parse_args(argv)
    try:
        status: int = arguments.command(arguments)
    except NbckptError as error:
        print(f"nbckpt: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("nbckpt: interrupted", file=sys.stderr)
        return 130
    return status


def parser() -> argparse.ArgumentParser:
    """Return what understands the command line."""
    store = argparse.ArgumentParser(add_help=False)
    default = os.environ.get("NBCKPT_STORE") or DEFAULT_STORE
    store.add_argument(
        "--store", metavar="URL", default=default, help="where the snapshots are: NBCKPT_STORE, else .nbckpt"
    )
    machine = argparse.ArgumentParser(add_help=False)
    machine.add_argument("--json", action="store_true", help="print JSON, for programs")

    whole = argparse.ArgumentParser(prog="nbckpt", description="Look after the snapshots of resumable cells.")
    whole.add_argument("--version", action="version", version=f"nbckpt {__version__}")
    commands = whole.add_subparsers(metavar="COMMAND", required=True)

    listing = commands.add_parser("list", parents=[store, machine], help="list the checkpoints in a store")
    listing.set_defaults(command=_list)

    show = commands.add_parser("show", parents=[store, machine], help="show one checkpoint in full")
    show.add_argument("name", metavar="NAME")
    show.set_defaults(command=_show)

    verify = commands.add_parser("verify", parents=[store], help="read every byte and name what is damaged")
    verify.add_argument("names", metavar="NAME", nargs="*", help="all checkpoints if left out")
    verify.set_defaults(command=_verify)

    repair = commands.add_parser("repair", parents=[store], help="drop what cannot be restored and keep the rest")
    repair.add_argument("names", metavar="NAME", nargs="*", help="all checkpoints if left out")
    repair.set_defaults(command=_repair)

    export = commands.add_parser("export", parents=[store], help="write the variables of a checkpoint as plain files")
    export.add_argument("name", metavar="NAME")
    export.add_argument("--to", metavar="DIR", required=True, help="the folder to write to")
    export.add_argument("--snapshot", metavar="NUMBER", type=int, help="which one, as show lists them; the newest")
    export.add_argument("--force", action="store_true", help="overwrite what is in the folder")
    export.set_defaults(command=_export)

    prune = commands.add_parser("prune", parents=[store], help="delete what killed runs left and no snapshot needs")
    prune.add_argument("names", metavar="NAME", nargs="*", help="all checkpoints if left out")
    prune.add_argument(
        "--grace", metavar="TIME", default="24h", help="leave alone what is younger than this: 24h, 30m, 0s"
    )
    prune.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    prune.set_defaults(command=_prune)

    remove = commands.add_parser("remove", parents=[store], help="delete checkpoints for good")
    remove.add_argument("names", metavar="NAME", nargs="+")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    remove.set_defaults(command=_remove)

    demo = commands.add_parser("demo", help="kill a training half way and see it go on, in under a minute")
    demo.set_defaults(command=_demo)

    key = commands.add_parser("key", help="show, import or renew the key that this machine signs snapshots with")
    key.add_argument("verb", nargs="?", choices=["show", "import", "rotate"], default="show")
    key.add_argument("file", metavar="FILE", nargs="?", help="of import: where the key is; standard input if left out")
    key.add_argument("--export", action="store_true", help="print the secret itself, for NBCKPT_KEY elsewhere")
    key.add_argument("--sign", action="store_true", help="of import: sign with it from now on, not only verify")
    key.set_defaults(command=_key)

    trust = commands.add_parser("trust", help="load what anyone who can write to a store saved there")
    trust.add_argument("url", metavar="URL", nargs="?", help="the store, or what several begin with; lists if left out")
    trust.add_argument("--revoke", action="store_true", help="trust it no longer")
    trust.set_defaults(command=_trust)
    return whole


def _list(arguments: argparse.Namespace) -> int:
    from ..storage.repository import Repository
    from .listing import overview, summaries

    repository = Repository.open(arguments.store, create=False)
    print(_json(summaries(repository)) if arguments.json else overview(repository))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from ..storage.repository import Repository
    from .listing import description, details

    repository = Repository.open(arguments.store, create=False)
    name = arguments.name
    print(_json(description(repository, name)) if arguments.json else details(repository, name))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from ..storage.repository import Repository
    from .listing import verified

    found, intact = verified(Repository.open(arguments.store, create=False), arguments.names)
    print(found)
    return 0 if intact else 1


def _repair(arguments: argparse.Namespace) -> int:
    from .upkeep import repaired

    done, well = repaired(arguments.store, arguments.names)
    print(done)
    return 0 if well else 1


def _export(arguments: argparse.Namespace) -> int:
    from .export import export

    index = export(arguments.name, arguments.to, store=arguments.store, seq=arguments.snapshot, force=arguments.force)
    left_out = [f"{row['name']}: {row['left_out']}" for row in index if "left_out" in row]
    print(f"{len(index) - len(left_out)} variables of {arguments.name} are in {arguments.to}; index.json lists them")
    for line in left_out:
        print(f"nbckpt: left out {line}", file=sys.stderr)
    return 1 if left_out else 0


def _prune(arguments: argparse.Namespace) -> int:
    from ..storage.repository import Repository
    from .upkeep import pruned

    grace = seconds(arguments.grace)
    if grace is None:
        raise OptionError(f"--grace {arguments.grace!r} is not a time: write 24h, 30m or 0s")
    repository = Repository.open(arguments.store, create=False)
    swept, well = pruned(repository, arguments.names, grace=grace, dry_run=arguments.dry_run)
    print(swept)
    return 0 if well else 1


def _remove(arguments: argparse.Namespace) -> int:
    from ..storage.repository import Repository
    from .listing import removed

    repository = Repository.open(arguments.store, create=False)
    if not arguments.yes:
        if not sys.stdin.isatty():
            print("nbckpt: nobody is there to ask: add --yes to remove for good", file=sys.stderr)
            return 2
        answer = input(f"Remove {', '.join(arguments.names)} from {repository.url} for good? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            print("nothing was removed")
            return 1
    print(removed(repository, arguments.names))
    return 0


def _demo(_: argparse.Namespace) -> int:
    from .demo import demo

    return demo()


def _key(arguments: argparse.Namespace) -> int:
    from ..storage.signing import import_key, key_folder, rotate_key, signing_key

    if arguments.verb == "import":
        key = import_key(_given(arguments.file), arguments.file or "standard input", sign=arguments.sign)
        print(f"{key.id} is trusted now" + (", and signs what this machine saves" if arguments.sign else ""))
        return 0
    if arguments.verb == "rotate":
        print(f"{rotate_key().id} signs what this machine saves from now on; the keys before it still verify")
        return 0
    folder = key_folder()
    place = next((name for name in ("NBCKPT_KEY", "NBCKPT_KEY_FILE") if os.environ.get(name)), "")
    if not (place or arguments.export or (folder / "current").exists()):
        print(f"no key yet: the first save makes one in {folder}")
        return 0
    key = signing_key()
    if arguments.export:
        import base64

        print(
            "nbckpt: keep this secret: whoever has it can make snapshots that your machines run code from",
            file=sys.stderr,
        )
        print(base64.urlsafe_b64encode(key.secret).rstrip(b"=").decode())
        return 0
    print(f"{key.id} from {place or folder / f'{key.id}.key'}")
    return 0


def _given(file: str | None) -> str:
    """What is in a file, or on standard input."""
    if not file:
        return sys.stdin.buffer.read(1024).decode("ascii", "replace")
    try:
        with Path(file).open("rb") as there:
            return there.read(1024).decode("ascii", "replace")
    except OSError as error:
        raise OptionError(f"{file} cannot be read: {error.strerror or error}; nothing was changed") from error


def _trust(arguments: argparse.Namespace) -> int:
    from ..storage.signing import trust, trusted, trusted_by
    from ..storage.stores import open_store

    places = trusted()
    if arguments.url is None:
        print("\n".join(places) or "no store is trusted beyond what our keys signed")
        return 0
    url = open_store(arguments.url).url
    others = [place for place in places if place != url]
    trust(others if arguments.revoke else [*others, url])
    if not arguments.revoke:
        print(f"whoever can write to {url} can run code here now, when its snapshots are loaded")
    elif still := trusted_by(url):
        raise OptionError(f"{url} is still trusted, since {still[0]} is: run `nbckpt trust {still[0]} --revoke` too")
    else:
        print(f"only what our keys signed is loaded from {url} now")
    return 0


def _json(value: object) -> str:
    return json.dumps(value, indent=2)


if __name__ == "__main__":
    sys.exit(main())
