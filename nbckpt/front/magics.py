"""`%%checkpointed` and `%checkpoints` in IPython.

A cell is not run from inside a magic, which would break `await`, cell numbers and tracebacks. A text transform
turns the `%%checkpointed` line into a marker statement; an AST transformer that knows the marker rewrites the
cell, and IPython itself runs it.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import os
import re
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from traitlets import Bool, Integer, Unicode
from traitlets.config.configurable import SingletonConfigurable

from ..errors import NbckptError, OptionError
from ..run import RUN

if TYPE_CHECKING:
    from ..run.cell import CellRun
    from ..run.position import Plan
    from ..settings import Settings
    from ..state.liveness import Liveness
    from .display import StatusLine

MAGIC = "%%checkpointed"
VALUES = {
    "--on-change": ["resume", "restart", "error"],
    "--on-preempt": ["continue", "stop", "requeue"],
    "--capture": ["copy", "fork"],
    "--preempt": ["auto", "off", "aws", "gcp", "azure", "slurm"],
}
"""What Tab offers after an option."""
_WRAPPERS = ("%%time", "%%capture")
"""Cell magics that may stand on the line after ours: they run the rest inside themselves."""


class NbCkpt(SingletonConfigurable):
    """Settings of nbckpt for this kernel, as in `%config NbCkpt.every = "5m"`."""

    every = Unicode(None, allow_none=True, help="When to save: 10m, 90s, 1h30m, 500it or auto.").tag(config=True)
    store = Unicode(None, allow_none=True, help="The folder that snapshots are kept in.").tag(config=True)
    keep = Integer(None, allow_none=True, help="How many snapshots of a running cell to keep.").tag(config=True)
    keep_best = Unicode(None, allow_none=True, help="Keep the best by a logged metric too: loss:min.").tag(config=True)
    keep_every = Unicode(None, allow_none=True, help="Keep one every 100it or 1h of work too.").tag(config=True)
    on_change = Unicode(None, allow_none=True, help="What to do when the cell was edited.").tag(config=True)
    grace = Unicode(None, allow_none=True, help="How long SIGTERM waits for an iteration.").tag(config=True)
    retry = Integer(None, allow_none=True, help="How often to try again after an error.").tag(config=True)
    retry_on = Unicode(None, allow_none=True, help="After which errors: TimeoutError,OSError.").tag(config=True)
    rng = Bool(None, allow_none=True, help="Save and restore global random state.").tag(config=True)
    replay = Bool(None, allow_none=True, help="Show earlier output again on resume.").tag(config=True)
    verify = Bool(None, allow_none=True, help="Load the first snapshot back and compare it.").tag(config=True)
    preempt = Unicode(None, allow_none=True, help="Who gives notice that the machine will go.").tag(config=True)
    on_preempt = Unicode(None, allow_none=True, help="On such a notice: continue, stop or requeue.").tag(config=True)
    capture = Unicode(None, allow_none=True, help="How a snapshot leaves the loop's way: copy or fork.").tag(
        config=True
    )
    quiet = Bool(None, allow_none=True, help="Show problems only.").tag(config=True)

    def values(self) -> dict[str, Any]:
        """What has been set."""
        return {name: getattr(self, name) for name in self.trait_names(config=True)}


@magics_class
class CheckpointMagics(Magics):
    """The magics as IPython lists, completes and documents them."""

    @magic_arguments()
    @argument("name", nargs="?", help="The checkpoint's name; the notebook's and a hash of the cell if left out.")
    @argument("--every", metavar="WHEN", help="When to save: 10m, 90s, 1h30m, 500it (iterations) or auto.")
    @argument("--vars", metavar="A,B", help="Save only these variables.")
    @argument("--exclude", metavar="A,B", help="Never save these variables.")
    @argument("--store", metavar="URL", help="The folder to save in; .nbckpt beside the notebook if left out.")
    @argument("--keep", metavar="N", help="How many snapshots to keep while the cell runs (3).")
    @argument(
        "--keep-best",
        metavar="METRIC",
        help="Keep the best by a number given to nbckpt.log too: loss:min, accuracy:max, loss:min:3 for three.",
    )
    @argument(
        "--keep-every",
        metavar="WHEN",
        help="Keep one of every 100it (iterations of the outermost loop) or 1h (of work) too.",
    )
    @argument("--fresh", action="store_true", default=None, help="Start over, whatever was saved.")
    @argument("--on-change", metavar="HOW", help="When the cell was edited: resume, restart or error.")
    @argument(
        "--grace",
        metavar="SECONDS",
        help="How long a signal that ends the process (SIGTERM) waits for the iteration in progress (25).",
    )
    @argument(
        "--retry",
        metavar="N",
        help="After an error go on from the newest snapshot, when some seconds have passed: N times without progress.",
    )
    @argument(
        "--retry-on",
        metavar="A,B",
        help="Go on after these errors only, such as TimeoutError,requests.ConnectionError.",
    )
    @argument("--no-rng", dest="rng", action="store_false", default=None, help="Leave global random state alone.")
    @argument("--no-replay", dest="replay", action="store_false", default=None, help="Do not show old output again.")
    @argument(
        "--verify",
        action="store_true",
        default=None,
        help="Load the first snapshots back in a clean process and compare them, before more is run: takes seconds.",
    )
    @argument(
        "--preempt",
        metavar="WHO",
        help="Who gives notice that the machine will go: auto (the cloud or scheduler that this runs on), off, aws, "
        "gcp, azure, slurm, signal:USR1, file:/path, http://..., or several with commas.",
    )
    @argument(
        "--on-preempt",
        metavar="HOW",
        help="On such a notice, after saving: continue, stop, or requeue (stop, and put the SLURM job back).",
    )
    @argument(
        "--capture",
        metavar="HOW",
        help="How a snapshot leaves the loop's way: copy, or fork (Linux; pickled by a forked copy of the process).",
    )
    @argument("--quiet", action="store_true", default=None, help="Show problems only.")
    @cell_magic
    def checkpointed(self, line: str, cell: str) -> None:  # noqa: ARG002
        """Make a cell resumable: run it again after the kernel died, and it goes on where it was.

        Variables and the progress of loops are saved as often as asked for. A cell that ran to its end gives
        its result at once when it is run again.
        """
        allowed = ", ".join(_WRAPPERS)
        raise UsageError(f"{MAGIC} stands on top of a cell of Python code, which may begin with one of {allowed}")

    @line_magic
    def checkpoints(self, line: str) -> Any:
        """List what is saved: `%checkpoints [list | show NAME | verify [NAME] | remove NAME] [--store URL]`."""
        from ..settings import Settings
        from .listing import checkpoints

        return checkpoints(line, Settings.collect(NbCkpt.instance().values()).store)


class Extension:
    """nbckpt in one shell: what `%load_ext` puts in place and `%unload_ext` takes away.

    While no checkpointed cell runs, it is also what the rewritten code finds under the name `__nbckpt__`.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.config = NbCkpt.instance(parent=shell)
        self.prepared: list[Any] = []
        """What rewritten cells will begin with, by the number that their code mentions."""
        self.running: list[tuple[CellRun, int]] = []
        self.depth = 0

    # -- in and out ------------------------------------------------------------------------------------------

    def load(self) -> None:
        shell = self.shell
        shell.register_magics(CheckpointMagics)
        shell.input_transformers_cleanup.append(mark)
        shell.ast_transformers.append(self)
        shell.events.register("pre_run_cell", self.before_cell)
        shell.events.register("post_run_cell", self.after_cell)
        shell.configurables.append(self.config)
        shell.set_hook("complete_command", complete, str_key=MAGIC)
        setattr(builtins, RUN, self)

    def unload(self) -> None:
        shell = self.shell
        shell.input_transformers_cleanup.remove(mark)
        shell.ast_transformers.remove(self)
        shell.events.unregister("pre_run_cell", self.before_cell)
        shell.events.unregister("post_run_cell", self.after_cell)
        ours = (NbCkpt, CheckpointMagics)
        shell.configurables[:] = [part for part in shell.configurables if not isinstance(part, ours)]
        shell.strdispatchers["complete_command"].strs.pop(MAGIC, None)
        shell.magics_manager.magics["cell"].pop("checkpointed", None)
        shell.magics_manager.magics["line"].pop("checkpoints", None)
        shell.magics_manager.registry.pop("CheckpointMagics", None)
        NbCkpt.clear_instance()
        delattr(builtins, RUN)

    # -- rewriting -------------------------------------------------------------------------------------------

    def visit(self, module: ast.Module) -> ast.Module:
        """Rewrite a cell that carries the marker; IPython calls this for every cell."""
        if not (module.body and (line := _marked(module.body[0])) is not None):
            return module
        marker = module.body[0]
        begin: _Beginning | _Refusal
        body: list[ast.stmt]
        try:
            begin, body = self._rewrite(line, ast.Module(module.body[1:], module.type_ignores), marker)
        except (NbckptError, UsageError, SyntaxError) as error:
            begin, body = _Refusal(error), []
        except Exception as error:  # noqa: BLE001 - IPython would drop the transformer and run the cell unprotected
            begin, body = (
                _Refusal(NbckptError(f"this cell cannot be made resumable ({error!r}); nothing was run")),
                [],
            )
        self.prepared.append(begin)
        call = ast.parse(f"{RUN}.begin({len(self.prepared) - 1})").body[0]
        for node in ast.walk(call):
            ast.copy_location(node, marker)
        return ast.Module([call, *body], module.type_ignores)

    def _rewrite(self, line: str, module: ast.Module, marker: ast.stmt) -> tuple[_Beginning, list[ast.stmt]]:
        from ..run.imports import names_to_come
        from ..run.inner import names_of_users
        from ..run.instrument import instrument, is_guarded, shown_target
        from ..run.resumable import NAMES, names_among
        from ..run.sites import decorated
        from ..run.syntax import fingerprint
        from ..settings import Settings
        from ..state.liveness import liveness

        try:
            options = vars(parse_argstring(CheckpointMagics.checkpointed, line))
        except ValueError as error:  # shlex's
            raise UsageError(f"{MAGIC} {line}: {error}") from error
        settings = Settings.collect(options, self.config.values())
        if self.shell.ast_node_interactivity == "last_expr_or_assign":
            module.body += shown_target(module.body)
        source = ast.unparse(module)
        digest = fingerprint(module)[:8]
        code = compile(module, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        name = settings.name or _default_name(_origin(self.shell), digest, settings.store)
        callees = decorated(module) | NAMES | names_among(self.shell.user_ns)
        callees |= names_of_users(module, self.shell.user_ns) | names_to_come(module)
        callees |= _saved_callees(name, settings.store)
        alive = liveness(module.body, lambda node, block: is_guarded(node, block, callees))
        rewritten, plan = instrument(module, callees)
        if settings.retry:
            from ..run.retry import repeated

            shows = self.shell.ast_node_interactivity != "all"  # then all that is in it is shown at once
            asynchronous = bool(code.co_flags & inspect.CO_COROUTINE)
            rewritten = repeated(rewritten, marker, asynchronous=asynchronous, shows=shows)
        return _Beginning(self, settings, name, plan, source, callees, code, alive), rewritten.body

    # -- running ---------------------------------------------------------------------------------------------

    def __call__(self, line: str) -> None:
        raise NbckptError(
            f"{line!r} was not seen by nbckpt here, so nothing would be saved and nothing was run: put it on the first "
            "line of the cell, alone or above %%time"
        )

    def begin(self, number: int) -> None:
        """The first statement of a rewritten cell."""
        beginning, self.prepared[number] = self.prepared[number], None
        _show_as_comment(sys._getframe(1).f_code.co_filename)  # noqa: SLF001 - the cell that calls this
        run = beginning.begin()
        self.running.append((run, self.depth))
        setattr(builtins, RUN, run.frame)

    def begin_again(self, run: CellRun) -> None:
        """The cell in progress goes on in another run."""
        self.running[-1] = run, self.running[-1][1]
        setattr(builtins, RUN, run.frame)

    def before_cell(self, *_: Any) -> None:
        self.depth += 1

    def after_cell(self, result: Any) -> None:
        """Finish the run that this cell began."""
        depth, self.depth = self.depth, max(0, self.depth - 1)
        if not self.running or self.running[-1][1] != depth:
            return
        run, _ = self.running.pop()
        setattr(builtins, RUN, self.running[-1][0].frame if self.running else self)
        try:
            if run.reached_end and result.success:
                run.finish()
                if run.interrupts.pending:  # whoever runs the whole notebook wants that to stop
                    result.error_in_exec = KeyboardInterrupt("the cell had come to its end")
            else:
                run.stop(result.error_before_exec or result.error_in_exec)
        finally:
            run.close()


class _Refusal:
    """A cell that must not run."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def begin(self) -> CellRun:
        raise self.error


class _Beginning:
    """A rewritten cell that is about to run."""

    def __init__(
        self,
        extension: Extension,
        settings: Settings,
        name: str,
        plan: Plan,
        source: str,
        callees: frozenset[str],
        code: Any,
        alive: Liveness,
    ) -> None:
        self.extension, self.settings, self.name, self.plan, self.source = extension, settings, name, plan, source
        self.callees, self.code, self.alive = callees, code, alive
        self.reporter: StatusLine | None = None

    def begin(self) -> CellRun:
        """Open the checkpoint, and stand at the top of the cell with a way back in or a fresh start."""
        from ..state.namespace import names_in
        from .display import StatusLine

        settings = self.settings
        wanted = None
        if settings.retry:
            from ..run.retry import Retries, Wanted

            bound = names_in(self.code, module=True).binds
            wanted = Wanted(settings.retry_on, self.extension.shell.user_ns, bound, (UsageError,))
        elif settings.retry_on:
            raise OptionError("--retry-on says after which errors to try again, and --retry how often: add --retry 3")
        self.reporter = StatusLine(self.extension.shell, quiet=settings.quiet)
        run = self.begun(settings)
        if wanted is not None:
            Retries(run, wanted, self.begin_again)
        return run

    def begin_again(self, earlier: CellRun, seq: int) -> CellRun:
        """Stand at the top of the cell once more, after an attempt that failed, with a way back in to a snapshot."""
        settings = replace(self.settings, fresh=False, verify=earlier.verification.pending)
        run = self.begun(settings, (earlier, seq))
        self.extension.begin_again(run)
        return run

    def begun(self, settings: Settings, after: tuple[CellRun, int] | None = None) -> CellRun:
        """A run that has started, from the newest snapshot, or after another one from that which it is told."""
        from ..run.cell import CellRun
        from ..state.namespace import Selection, names_in, names_of_definitions

        shell = self.extension.shell
        own = names_in(self.code, module=True)
        called = names_of_definitions((shell.user_ns.get(name) for name in own.reads), shell.user_ns)
        names = own | called
        only = None if settings.vars is None else frozenset(settings.vars)
        for option, chosen in (("--vars", settings.vars), ("--exclude", settings.exclude)):
            if unknown := sorted(set(chosen or ()) - names.reads - names.binds - shell.user_ns.keys()):
                raise OptionError(f"{option} names {', '.join(unknown)}, which neither the notebook nor the cell has")
        selection = Selection(set(names.reads | names.binds), set(names.binds), only, frozenset(settings.exclude))
        run = CellRun(
            self.plan,
            self.source,
            self.alive,
            self.callees,
            self.extension.begin,
            self.name,
            settings,
            shell.user_ns,
            selection,
            self.reporter,
            shell=shell,
            origin=_origin(shell),
        )
        if after is not None:
            run.follow(*after)
        run.open()
        run.prepare()
        run.start()
        return run


def mark(lines: list[str]) -> list[str]:
    """Turn a first line `%%checkpointed ...` into the marker. Pure: IPython calls it several times a cell."""
    if not lines or lines[0].split(maxsplit=1)[:1] != [MAGIC] or lines[0].rstrip().endswith("?"):
        return lines
    marker = f"{RUN}({lines[0].strip()!r})\n"
    if len(lines) > 1 and lines[1].startswith("%%"):
        if lines[1].split()[0] in _WRAPPERS:
            return [
                lines[1],
                marker,
                *lines[2:],
            ]  # the wrapper runs the rest, and finds the marker on top of it
        return ["get_ipython().run_cell_magic('checkpointed', '', '')\n"]
    return [marker, *lines[1:]]


def _show_as_comment(filename: str) -> None:
    """Let tracebacks quote the magic's line rather than the marker that stands for it."""
    lines = linecache.getlines(filename)
    for index, line in enumerate(lines[:2]):
        if line.startswith(f"{RUN}("):
            lines[index] = f"# {ast.literal_eval(line.removeprefix(RUN).strip())}\n"


def _marked(node: ast.stmt) -> str | None:
    """The options on the marker, if this is one."""
    match node:
        case ast.Expr(ast.Call(ast.Name(id=name), [ast.Constant(str(line))])) if name == RUN:
            return line.removeprefix(MAGIC).strip()
    return None


def _origin(shell: Any) -> dict[str, Any]:
    """Which notebook and which of its cells this is, where the front end says so."""
    notebook = shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    cell = None
    if (kernel := getattr(shell, "kernel", None)) is not None:
        cell = (kernel.get_parent().get("metadata") or {}).get("cellId")
    return {"notebook": notebook, "cell": cell}


def _default_name(origin: dict[str, Any], digest: str, store: str) -> str:
    """The notebook's name and the cell's hash; or, after an edit, the name that its cell id was saved under."""
    stem = (
        re.sub(r"[^A-Za-z0-9._-]+", "-", Path(origin["notebook"] or "notebook").stem).strip("-._")[:100] or "notebook"
    )
    name = f"{stem}-{digest}"
    if origin["cell"] is None:
        return name
    from ..storage.repository import Repository

    repository = Repository.open(store, create=False)
    known = [other for other in repository.names() if other.startswith(f"{stem}-")]
    if name in known:
        return name
    for other in known:
        latest = repository.history(other)[:1]
        if latest and latest[0].description.get("cell") == origin["cell"]:
            return other
    return name


def _saved_callees(name: str, store: str) -> frozenset[str]:
    """The names at whose calls the saved cell can be entered again, which this kernel may not know yet."""
    from ..storage.repository import Repository

    try:
        latest = Repository.open(store, create=False).history(name)[:1]
    except NbckptError:  # it is opened again when the cell begins, which says what is wrong
        return frozenset()
    return frozenset(name for snapshot in latest for name in snapshot.description.get("callees", ()))


def complete(_: Any, event: Any) -> list[str]:
    """Complete the options of `%%checkpointed`."""
    words = event.line.split()
    if len(words) > 1 and words[-2] in VALUES and not event.line.endswith(" "):
        return VALUES[words[-2]]
    parser = CheckpointMagics.checkpointed.parser
    return sorted(name for action in parser._actions for name in action.option_strings if name.startswith("--"))  # noqa: SLF001


_loaded: weakref.WeakKeyDictionary[Any, Extension] = weakref.WeakKeyDictionary()


def load_extension(shell: Any) -> None:
    """Put nbckpt into a shell, once."""
    if shell not in _loaded:
        extension = Extension(shell)
        extension.load()
        _loaded[shell] = extension


def unload_extension(shell: Any) -> None:
    """Take it out again, if it is there."""
    if (extension := _loaded.pop(shell, None)) is not None:
        extension.unload()
