"""Notices that the machine will go: who gives them, how they are heard, and that nobody else disturbs a run."""

from __future__ import annotations

import errno
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clouds import Aws, Azure, Gcp, Service, serving
from nbckpt import OptionError
from nbckpt.errors import StoreError
from nbckpt.run import retry, schedule
from nbckpt.run.departure import Departure
from nbckpt.run.interrupts import Interrupts
from nbckpt.run.notices import azure, gcp, watch as watching
from nbckpt.run.notices.aws import Aws as AskAws
from nbckpt.run.notices.azure import Azure as AskAzure
from nbckpt.run.notices.gcp import Gcp as AskGcp
from nbckpt.run.notices.notice import Notice
from nbckpt.run.notices.own import File, Page
from nbckpt.run.notices.signs import AZURE_TAG, seen
from nbckpt.run.notices.slurm import requeue
from nbckpt.run.notices.watch import Watch
from nbckpt.run.restore import Restore
from nbckpt.run.schedule import Schedule
from nbckpt.settings import Settings
from nbckpt.storage.repository import Repository
from nbckpt.storage.stores.local import LocalStore
from programs.harness import Kernel, kernel

MOMENT = 2136874920.0
"""18 September 2037, 08:22:00 UTC."""
PATIENCE = 60
ROOT = Path(__file__).parents[2]


class Ear:
    """Whom a watch tells."""

    def __init__(self) -> None:
        self.notices: queue.SimpleQueue[Notice] = queue.SimpleQueue()
        self.troubles: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.noticed, self.unheard = self.notices.put, self.troubles.put

    def next(self) -> Notice:
        return self.notices.get(timeout=PATIENCE)


def asking() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("nbckpt asks")]


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ear]]:
    """Begin to watch; sources are asked without a pause, and a thread that outlives its watch fails the test."""
    for source in (AskAws, AskGcp, AskAzure, File, Page):
        monkeypatch.setattr(source, "pause", 0.01)
    monkeypatch.setattr(gcp, "WAIT", 1)
    watches = []

    def begin(preempt: str, environ: Mapping[str, str] = {}) -> Ear:
        ear = Ear()
        ear.watch = Watch(Settings.collect({"preempt": preempt}).preempt, ear, environ)  # type: ignore[attr-defined]
        watches.append(ear.watch)  # type: ignore[attr-defined]
        return ear

    yield begin
    for one in watches:
        one.stop()
    for thread in asking():
        thread.join(PATIENCE)
    assert not asking()


SOURCES: list[tuple[type[Any], type[Any]]] = [(AskAws, Aws), (AskGcp, Gcp), (AskAzure, Azure)]
CLOUDS = pytest.mark.parametrize(("source", "kind"), SOURCES, ids=["aws", "gcp", "azure"])


@CLOUDS
def test_a_cloud_gives_notice(kind: type[Service], source: type[Any], listen: Callable[..., Ear]) -> None:
    """Where the environment says that a run is there, it is asked until it says something, which is told once."""
    with serving(kind) as service:
        ear = listen("auto", service.variables())
        service.wait_until_asked(6)
        assert ear.notices.empty()
        service.give_notice()
        notice = ear.next()
        assert notice.text == service.says
        assert notice.certain
        assert notice.when == (None if kind is Gcp else MOMENT)
        service.wait_until_asked(4)
        assert ear.notices.empty()
        assert ear.troubles.empty()


def test_aws_wants_a_token() -> None:
    """One token does for many questions, and one that is not taken any more is replaced."""
    with serving(Aws) as service:
        source = AskAws(service.variables())
        assert [source.ask() for _ in range(3)] == [[]] * 3
        assert len(service.tokens) == 1
        service.tokens.append("another")
        assert source.ask() == []
        assert len(service.tokens) == 3
        service.give_notice()
        assert source.ask() == [Notice(service.says, MOMENT)]


def test_aws_recommends_to_leave() -> None:
    """That is no reason to stop; that the instance is taken back then is."""
    with serving(Aws) as service:
        source = AskAws(service.variables())
        service.recommend()
        (notice,) = source.ask()
        assert "likely" in notice.text
        assert not notice.certain
        service.give_notice()
        assert [notice.certain for notice in source.ask()] == [True]


@pytest.mark.parametrize("action", ["terminate", "stop", "hibernate"])
def test_aws_actions(action: str) -> None:
    """Each is named, and an instant that cannot be read is left out rather than the notice."""
    with serving(Aws) as service:
        service.items["spot/instance-action"] = json.dumps({"action": action, "time": "soon"}).encode()
        assert AskAws(service.variables()).ask() == [Notice(f"AWS will {action} this spot instance")]


def test_gcp_answers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question waits for the answer to change, so that a notice is heard when it is given."""
    monkeypatch.setattr(gcp, "WAIT", PATIENCE)
    with serving(Gcp) as service:
        source, heard = AskGcp(service.variables()), queue.SimpleQueue[list[Notice]]()
        assert source.ask() == []
        thread = threading.Thread(target=lambda: heard.put(source.ask()))
        thread.start()
        service.wait_until_asked()
        assert heard.empty()
        service.give_notice()
        assert [notice.text for notice in heard.get(timeout=PATIENCE / 2)] == [service.says]
        thread.join()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("NONE", []),
        ("MIGRATE_ON_HOST_MAINTENANCE", []),
        ("TERMINATE_ON_HOST_MAINTENANCE", ["GCP will stop this machine for maintenance of its host"]),
    ],
)
def test_gcp_maintenance(value: str, expected: list[str]) -> None:
    """A machine that is moved alive keeps its state; one that is stopped does not."""
    with serving(Gcp) as service:
        service.say("maintenance-event", value)
        assert [notice.text for notice in AskGcp(service.variables()).ask()] == expected


@pytest.mark.parametrize("kind", azure.MEANS)
def test_azure_events(kind: str) -> None:
    """Each that interrupts this machine is told, also when it has begun; to be paused is no reason to stop."""
    with serving(Azure) as service:
        service.schedule(kind.capitalize(), "WestNO_1", "WestNO_0", start="")
        assert AskAzure(service.variables()).ask() == [Notice(azure.MEANS[kind], None, certain=kind != "freeze")]


def test_azure_tells_all_machines_of_all() -> None:
    """What is about others is not told, and neither is a kind of event that nobody knows."""
    with serving(Azure) as service:
        service.schedule("Preempt", "WestNO_1", "WestNO_10")
        service.schedule("Lunch", "WestNO_0")
        assert AskAzure(service.variables()).ask() == []


GARBAGE = {
    "nothing": b"",
    "no text": b"\xff\xfe\x00",
    "a page": b"<html>Sign in to the network</html>",
    "half an object": b'{"action": "termin',
    "a list": b"[1, 2]",
    "null": b"null",
    "several lines": b"one\r\ntwo",
    "another object": b'{"action": 3, "Events": [{"EventType": "Preempt"}], "TRUE": "TRUE"}',
    "events that are none": b'{"action": "dance", "Events": ["Preempt"]}',
    "deeper than anybody reads": b"[" * 60_000,
    "longer than anybody reads": b"TRUE" * 100_000,
}


@CLOUDS
@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("status", [200, 204, 302, 403, 500, 503])
def test_garbage_is_no_notice(kind: type[Service], source: type[Any], body: bytes, status: int) -> None:
    """Whatever it is, it is an error that is expected; and what comes after it is heard."""
    with serving(kind) as service:
        asked = source(service.variables())
        service.status, service.body = status, b"" if status == 204 else body
        with pytest.raises((OSError, ValueError, RecursionError)):
            asked.ask()
        service.status = 0
        service.give_notice()
        assert [notice.text for notice in asked.ask()] == [service.says]


@CLOUDS
def test_another_answer_than_http(kind: type[Service], source: type[Any]) -> None:
    """What listens there may be anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def chatter() -> None:
            with server.accept()[0] as peer:
                peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        threading.Thread(target=chatter).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        names = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "GCE_METADATA_HOST", "NBCKPT_AZURE_METADATA")
        with pytest.raises((OSError, ValueError)):
            source(dict.fromkeys(names, address)).ask()


@pytest.mark.parametrize("endpoint", ["nonsense://x", "http://", "http://127.0.0.1:port", "http://[::1", "ftp://there"])
def test_an_endpoint_that_is_none(endpoint: str) -> None:
    """It is one more that does not answer."""
    with pytest.raises(ValueError):  # noqa: PT011 - of the address, in words that are not ours
        AskAws({"AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint}).ask()


def test_one_that_does_not_answer() -> None:
    """A question is given up after moments: only its own thread has waited."""
    with serving(Aws) as service:
        service.silent.set()
        with pytest.raises(TimeoutError):
            AskAws(service.variables()).ask()


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is on the link itself, whatever proxies the environment names."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(Aws) as service:
        assert AskAws(service.variables()).ask() == []


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_auto_gives_up_without_a_word(listen: Callable[..., Ear], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody answers, the thread ends, and nothing is said of it."""
    monkeypatch.setattr(AskAws, "patience", 0.1)
    ear = listen("auto", {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{closed_port()}"})
    for thread in asking():
        thread.join(PATIENCE)
    assert not asking()
    assert ear.troubles.empty()
    assert ear.notices.empty()


def test_one_that_was_named_and_does_not_answer(listen: Callable[..., Ear]) -> None:
    """That is said once, and it is asked on."""
    with serving(Aws) as service:
        service.status = 500
        ear = listen("aws", service.variables())
        assert "cannot be asked" in ear.troubles.get(timeout=PATIENCE)
        service.status = 0
        service.give_notice()
        assert ear.next().text == service.says
        assert ear.troubles.empty()


def test_aws_turned_off(listen: Callable[..., Ear]) -> None:
    """`AWS_EC2_METADATA_DISABLED` is obeyed; who names AWS all the same is told."""
    with serving(Aws) as service:
        off = {**service.variables(), "AWS_EC2_METADATA_DISABLED": "True"}
        assert listen("auto", off).troubles.empty()
        assert "AWS_EC2_METADATA_DISABLED" in listen("aws", off).troubles.get(timeout=PATIENCE)
        assert not asking()
        assert not service.asked


# -- where it runs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("class/dmi/id/sys_vendor", "Amazon EC2\n", ["aws"]),
        ("class/dmi/id/product_name", "Google Compute Engine\n", ["gcp"]),
        ("class/dmi/id/chassis_asset_tag", f"{AZURE_TAG}\n", ["azure"]),
        ("hypervisor/uuid", "ec2e1916-9099-7caf-fd21-012345abcdef\n", ["aws"]),
        ("class/dmi/id/sys_vendor", "Microsoft Corporation\n", []),
        ("class/dmi/id/product_name", "KVM\n", []),
    ],
)
def test_what_the_firmware_says(file: str, text: str, expected: list[str], tmp_path: Path) -> None:
    """Each cloud is known by what its machines say of themselves, and nobody else is taken for one."""
    (tmp_path / "sys" / file).parent.mkdir(parents=True)
    (tmp_path / "sys" / file).write_text(text)
    assert seen({}, tmp_path) == expected


def test_what_the_environment_says(tmp_path: Path) -> None:
    """Jobs and services are known by their variables; empty ones count for nothing."""
    assert seen({"SLURM_JOB_ID": "7", "AWS_BATCH_JOB_ID": ""}, tmp_path) == ["slurm"]
    assert seen({"AWS_BATCH_JOB_ID": "7", "AZ_BATCH_NODE_ID": "8"}, tmp_path) == ["aws", "azure"]


def test_nothing_is_loaded_where_nobody_is_asked() -> None:
    """A run that is told of nothing costs neither a thread nor a library."""
    script = """
        import sys, threading
        from nbckpt.run.notices.watch import Watch
        class Ear:
            noticed = unheard = print
        watch = Watch(("auto",), Ear(), {})
        print(threading.active_count(), sorted({"http.client", "ssl", "urllib.request", "email"} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "1 []\n"


# -- one's own -----------------------------------------------------------------------------------------------


def test_a_file_of_ones_own(workplace: Path, listen: Callable[..., Ear]) -> None:
    """That it appears is the notice; what it says is shown in one line, and cannot do anything to a terminal."""
    ear = listen("file:gone")
    os.chdir("/")  # the cell may go where it wants
    assert ear.notices.empty()
    (workplace / "soon").write_bytes(b"back at\n 8 \x1b[31m\n" + b"x" * 500)
    (workplace / "soon").rename(workplace / "gone")
    text = ear.next().text
    assert text.startswith(
        f"the file {workplace / 'gone'} says that this machine will go: back at 8 \N{REPLACEMENT CHARACTER}[31m x"
    )
    assert len(text) < 350


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, Path.touch], ids=["a folder", "a pipe", "an empty file"])
def test_anything_of_that_name(make: Callable[[Path], None], tmp_path: Path) -> None:
    """Whatever it is that appears, it is not waited for."""
    source = File(f"{tmp_path / 'gone'}")
    assert source.ask() == []
    make(tmp_path / "gone")
    assert source.ask() == [Notice(f"the file {tmp_path / 'gone'} says that this machine will go")]
    assert File(f"{tmp_path / 'gone' / 'below'}").ask() == []


def test_a_file_of_nobody() -> None:
    """The home of a user who does not exist is no folder, and no error."""
    assert File("~nobody-of-that-name/gone").ask() == []


@pytest.mark.parametrize("nothing", [404, 204])
def test_a_page_of_ones_own(nothing: int, listen: Callable[..., Ear]) -> None:
    """It answers 200 when the machine will go; an error is not that."""
    with serving(Aws) as service:
        service.status, service.body = nothing, b""
        ear = listen(f"{service.endpoint}/leave?me=1")
        service.wait_until_asked(3)
        service.status = 500
        assert "HTTP status 500" in ear.troubles.get(timeout=PATIENCE)
        service.body, service.status = b"at noon", 200
        assert ear.next().text == f"{service.endpoint}/leave?me=1 says that this machine will go: at noon"


# -- signals -------------------------------------------------------------------------------------------------


@pytest.fixture
def own_handlers() -> Iterator[list[int]]:
    """Handlers of the user's, and what they were called with."""
    called: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    signal.signal(signal.SIGUSR1, lambda number, _: called.append(number))
    yield called
    for number, handler in before.items():
        signal.signal(number, handler)


def test_slurm_sends_a_signal(own_handlers: list[int], listen: Callable[..., Ear]) -> None:
    """Either of the usual ones says when the job ends; the handlers that were there are called, and put back."""
    before = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)]
    ear = listen("auto", {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": f"{MOMENT:.0f}"})
    for name in ("SIGUSR1", "SIGUSR2"):
        signal.raise_signal(getattr(signal, name))
        assert ear.next() == Notice(f"SLURM sent {name}, so this job will end", MOMENT)
    assert own_handlers == [signal.SIGUSR1]
    ear.watch.stop()  # type: ignore[attr-defined]
    assert [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)] == before
    assert not asking()


def test_a_run_in_a_run_hears_signals_too(own_handlers: list[int], listen: Callable[..., Ear]) -> None:
    """Both are told, the user's handler once; the one that stays hears on."""
    outer, inner = listen("signal:USR1"), listen("signal:USR1")
    signal.raise_signal(signal.SIGUSR1)
    assert outer.next() == inner.next() == Notice("SIGUSR1 says that this machine will go")
    assert own_handlers == [signal.SIGUSR1]
    inner.watch.stop()  # type: ignore[attr-defined]
    signal.raise_signal(signal.SIGUSR1)
    outer.next()
    assert inner.notices.empty()


def test_two_that_end_in_the_order_in_which_they_began() -> None:
    """The one that stays hears on; when both are over, a signal does what it did before, and that ends the process."""
    script = """
        import signal
        from queue import SimpleQueue
        from nbckpt.run.notices.watch import Watch
        class Ear:
            pass
        heard, ear = SimpleQueue(), Ear()
        ear.noticed = ear.unheard = heard.put
        first, second = Watch(("signal:USR1",), ear, {}), Watch(("signal:USR1",), ear, {})
        first.stop()
        signal.raise_signal(signal.SIGUSR1)
        print(heard.get(timeout=60), flush=True)
        second.stop()
        signal.raise_signal(signal.SIGUSR1)
        print("alive")
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (-signal.SIGUSR1, "SIGUSR1 says that this machine will go\n"), done.stderr


def test_a_handler_of_the_cells_own_stays(own_handlers: list[int], listen: Callable[..., Ear]) -> None:
    """What the code of the run installs itself is not taken away at the end."""
    ear = listen("signal:USR1")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    ear.watch.stop()  # type: ignore[attr-defined]
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN


def test_signals_in_a_thread(listen: Callable[..., Ear]) -> None:
    """There they cannot be heard: who named one is told, and `auto` is silent."""
    ears = queue.SimpleQueue[Ear]()
    before = signal.getsignal(signal.SIGUSR1)
    for preempt in ("signal:USR1", "slurm", "auto"):
        thread = threading.Thread(target=lambda which=preempt: ears.put(listen(which, {"SLURM_JOB_ID": "7"})))
        thread.start()
        thread.join()
    assert "main thread" in ears.get().troubles.get(timeout=PATIENCE)
    assert "main thread" in ears.get().troubles.get(timeout=PATIENCE)
    assert ears.get().troubles.empty()
    assert signal.getsignal(signal.SIGUSR1) is before


def test_ended_by_another_thread() -> None:
    """A thread that ends a run cannot put a handler back; the signal then does what it did before."""
    script = """
        import os, signal, threading
        from nbckpt.run.notices.watch import Watch
        class Ear:
            noticed = unheard = print
        watch = Watch(("signal:USR1",), Ear(), {})
        thread = threading.Thread(target=watch.stop)
        thread.start()
        thread.join()
        signal.raise_signal(signal.SIGUSR1)
        signal.sigtimedwait([signal.SIGUSR1], 60)
        print("alive")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (-signal.SIGUSR1, ""), done.stderr


def test_when_it_goes() -> None:
    """A moment of today is a time, another one has its date, and what is no moment is left out."""
    now = datetime.now().replace(hour=12, minute=0, second=1)
    assert str(Notice("it goes", now.timestamp())) == "it goes at 12:00:01"
    later = now + timedelta(days=2)
    assert str(Notice("it goes", later.timestamp())) == f"it goes at 12:00:01 on {later:%Y-%m-%d}"
    for unlimited in (4294967294.0, 1e30, float("inf"), 0.0):
        assert str(Notice("it goes", unlimited)) == "it goes"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("#!/bin/sh\necho $@ > asked\n", "job 7 was put back into the queue"),
        ("#!/bin/sh\necho Requested operation is presently disabled >&2\nexit 1\n", "presently disabled"),
        ("#!/bin/sh\nexit 3\n", "exit status 3"),
        ("", "`scontrol requeue 7` failed"),
    ],
    ids=["done", "refused", "failed", "not there"],
)
def test_requeue(script: str, says: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is named to `scontrol`, and what became of that is said."""
    monkeypatch.setenv("PATH", f"{workplace}:/bin:/usr/bin" if script else f"{workplace}")
    if script:
        (workplace / "scontrol").write_text(script)
        (workplace / "scontrol").chmod(0o755)
    assert says in requeue("7")
    if "asked" in script:
        assert (workplace / "asked").read_text() == "requeue 7\n"


# -- one process ---------------------------------------------------------------------------------------------


def test_a_run_in_a_run_asks_nobody_twice(listen: Callable[..., Ear]) -> None:
    """They share the thread, the second hears what was said before it, and the thread ends with the last."""
    with serving(Aws) as service:
        outer = listen("auto", service.variables())
        service.give_notice()
        outer.next()
        inner = listen("auto", service.variables())
        assert inner.next().text == service.says
        assert len(asking()) == 1
        outer.watch.stop()  # type: ignore[attr-defined]
        assert len(asking()) == 1
        service.wait_until_asked(2)
        inner.watch.stop()  # type: ignore[attr-defined]
        for thread in asking():
            thread.join(PATIENCE)
        assert not asking()
        assert not watching._asked


def test_a_forked_child_does_not_ask(listen: Callable[..., Ear]) -> None:
    """It has no thread, and its parent's ears are not called there; a run of its own asks."""
    with serving(Aws) as service:
        ear = listen("auto,signal:USR2", service.variables())
        service.wait_until_asked()
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of later Pythons: there are threads
            child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGUSR2)
            own = Ear()
            found = [len(asking()), ear.notices.empty(), len(watching._asked)]
            watch = Watch(("auto",), own, service.variables())
            service.items.clear()
            found.append(len(asking()))
            watch.stop()
            os.write(writing, json.dumps(found).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as told:
            assert json.loads(told.read()) == [0, True, 0, 1]
        assert os.waitpid(child, 0)[1] == 0
        service.give_notice()
        ear.next()


# -- what can be asked for -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("auto", ("auto",)),
        ("AWS,slurm", ("aws", "slurm")),
        ("signal:SIGUSR2", ("signal:USR2",)),
        ("signal:xcpu,file:/a b", ("signal:XCPU", "file:/a b")),
        ("file:///tmp/gone", ("file:/tmp/gone",)),
        (["auto", "http://there/x?y=1"], ("auto", "http://there/x?y=1")),
        ("off", ("off",)),
        ("", ("off",)),
        ([], ("off",)),
    ],
)
def test_preempt(given: Any, expected: tuple[str, ...]) -> None:
    """What may be written, and what it means."""
    assert Settings.collect({"preempt": given}).preempt == expected


@pytest.mark.parametrize(
    ("option", "given", "says"),
    [
        ("preempt", "/mnt/gone", "'/mnt/gone' names nobody"),
        ("preempt", "file:", "'file:' names nobody"),
        ("preempt", "http://", "'http://' names nobody"),
        ("preempt", "kubernetes", "'kubernetes' names nobody"),
        ("preempt", "signal:TERM", "always heard"),
        ("preempt", "signal:9", "signal:USR1"),
        ("preempt", "off,aws", "off and for more"),
        ("on_preempt", "restart", "continue, stop or requeue"),
    ],
)
def test_what_makes_no_sense(option: str, given: str, says: str) -> None:
    """It is refused before anything runs, and the message says what to write."""
    with pytest.raises(OptionError, match=says):
        Settings.collect({option: given})


def test_from_the_environment() -> None:
    """`NBCKPT_PREEMPT` and `NBCKPT_ON_PREEMPT` are read."""
    found = Settings.collect(environ={"NBCKPT_PREEMPT": "off", "NBCKPT_ON_PREEMPT": "stop"})
    assert (found.preempt, found.on_preempt) == (("off",), "stop")


# -- a run ---------------------------------------------------------------------------------------------------

SCRIPT = """
import sys
import nbckpt

done = []
with nbckpt.checkpointed("steps", vars=["done"], every="1h", preempt=sys.argv[1], on_preempt=sys.argv[2]) as ckpt:
    for k in ckpt.loop(range(8)):
        done.append(k)
        if not ckpt.resumed and k in (3, 5):
            print("holds at", k, flush=True)
            sys.stdin.readline()
print(done)
"""


class Script:
    """A script that holds in its fourth and its sixth iteration until it is told to go on."""

    def __init__(
        self, folder: Path, preempt: str, on_preempt: str, environ: Mapping[str, str] = {}, source: str = SCRIPT
    ) -> None:
        (folder / "script.py").write_text(source)
        self.process = subprocess.Popen(
            [sys.executable, "script.py", preempt, on_preempt],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        )
        self.said = ""

    def wait_until_held(self, at: int) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"holds at {at}\n"

    def wait_until_said(self, text: str) -> None:
        assert self.process.stderr is not None
        while text not in self.said:
            line = self.process.stderr.readline()
            assert line, self.said
            self.said += line

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> tuple[int, str]:
        out, err = self.process.communicate(timeout=PATIENCE)
        self.said += err
        return self.process.returncode, out


def progress(folder: Path) -> list[str]:
    """Where the snapshots of the script stand, newest first."""
    return [str(one.description["progress"]) for one in Repository.open(str(folder / ".nbckpt")).history("steps")]


@pytest.mark.parametrize("kind", [Aws, Gcp, Azure])
def test_a_notice_stops_a_run_at_its_next_boundary(kind: type[Service], workplace: Path) -> None:
    """What is committed is that boundary; the script run again goes on there and loses nothing."""
    with serving(kind) as service:
        script = Script(workplace, "auto", "stop", service.variables())
        script.wait_until_held(3)
        assert progress(workplace) == []
        service.give_notice()
        script.wait_until_said(f"{service.says}")
        script.go_on()
        code, out = script.end()
    assert (code, out) == (-signal.SIGINT, ""), script.said
    assert "this machine will go: stops when this iteration ends, and saves there" in script.said
    assert "stopped at k 4 of 8, saved; run it again to go on there" in script.said
    assert progress(workplace) == ["k 4 of 8"]
    again = Script(workplace, "off", "stop")
    assert again.end() == (0, "[0, 1, 2, 3, 4, 5, 6, 7]\n")
    assert "resumed at k 4 of 8" in again.said


def test_a_notice_is_followed_by_a_snapshot(workplace: Path) -> None:
    """The run goes on after it, and `show` tells of the notice."""
    script = Script(workplace, "file:gone", "continue")
    script.wait_until_held(3)
    (workplace / "gone").write_text("sold")
    script.wait_until_said("sold: a snapshot is taken at the next boundary, and more of them from then on")
    script.go_on()
    script.wait_until_held(5)
    assert "k 4 of 8" in progress(workplace)
    script.go_on()
    assert script.end() == (0, "[0, 1, 2, 3, 4, 5, 6, 7]\n")
    shown = subprocess.run(
        [sys.executable, "-m", "nbckpt", "show", "steps"],
        cwd=workplace,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout
    assert "gone says that this machine will go: sold" in shown


def job(folder: Path) -> dict[str, str]:
    """The environment of a SLURM job, whose `scontrol` writes down what it is asked, and what was saved by then."""
    (folder / "scontrol").write_text("#!/bin/sh\nls .nbckpt/steps/log > asked\necho $@ >> asked\n")
    (folder / "scontrol").chmod(0o755)
    return {"SLURM_JOB_ID": "7", "PATH": f"{folder}:{os.environ['PATH']}"}


NO_LOOP = """
import sys
import nbckpt

with nbckpt.checkpointed("steps", on_preempt=sys.argv[2]) as ckpt:
    if not ckpt.completed:
        print("holds at 3", flush=True)
        sys.stdin.readline()
print("the rest")
"""


def test_a_job_whose_block_ends_first_is_put_back_too(workplace: Path) -> None:
    """There was no boundary before its end: that is saved, and the rest of the script is for the next job."""
    script = Script(workplace, "auto", "requeue", job(workplace), NO_LOOP)
    script.wait_until_held(3)
    script.process.send_signal(signal.SIGUSR2)
    script.wait_until_said("SLURM sent SIGUSR2, so this job will end")
    script.go_on()
    assert script.end() == (-signal.SIGINT, ""), script.said
    assert "job 7 was put back into the queue" in script.said
    assert (workplace / "asked").read_text().splitlines()[-1] == "requeue 7"
    assert Script(workplace, "off", "stop", source=NO_LOOP).end() == (0, "the rest\n")


def test_a_job_that_fails_is_not_put_back(workplace: Path) -> None:
    """An error of its own would happen again."""
    source = SCRIPT.replace("sys.stdin.readline()", "sys.stdin.readline(); 1 / 0")
    script = Script(workplace, "auto", "requeue", job(workplace), source)
    script.wait_until_held(3)
    script.process.send_signal(signal.SIGUSR1)
    script.wait_until_said("SLURM sent SIGUSR1, so this job will end")
    script.go_on()
    assert script.end()[0] == 1
    assert "ZeroDivisionError" in script.said
    assert not (workplace / "asked").exists()


def test_a_job_is_put_back_into_its_queue(workplace: Path) -> None:
    """SLURM's signal, a snapshot at the next boundary, and only then `scontrol`."""
    script = Script(workplace, "auto", "requeue", job(workplace))
    script.wait_until_held(3)
    script.process.send_signal(signal.SIGUSR1)
    script.wait_until_said("SLURM sent SIGUSR1, so this job will end")
    script.go_on()
    assert script.end()[0] == -signal.SIGINT
    assert "job 7 was put back into the queue" in script.said
    assert progress(workplace) == ["k 4 of 8"]
    *snapshots, asked = (workplace / "asked").read_text().splitlines()
    assert snapshots == sorted(entry.name for entry in Path(".nbckpt/steps/log").iterdir())
    assert asked == "requeue 7"


def test_what_is_only_likely_stops_nothing(workplace: Path) -> None:
    """A recommendation is answered by a snapshot, whatever `--on-preempt` says."""
    with serving(Aws) as service:
        script = Script(workplace, "auto", "stop", service.variables())
        script.wait_until_held(3)
        service.recommend()
        script.wait_until_said("likely to be taken back")
        script.go_on()
        script.wait_until_held(5)
        assert "k 4 of 8" in progress(workplace)
        script.go_on()
        assert script.end() == (0, "[0, 1, 2, 3, 4, 5, 6, 7]\n")


# -- with --retry, and where nothing can be saved ------------------------------------------------------------


@pytest.fixture
def usr1(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Give notice by SIGUSR1, which comes once and cannot be asked for again."""
    heard, noticed, before = threading.Event(), Departure.noticed, signal.getsignal(signal.SIGUSR1)

    def hear(departure: Departure, notice: Notice) -> None:
        noticed(departure, notice)
        heard.set()

    def give() -> None:
        heard.clear()
        signal.raise_signal(signal.SIGUSR1)
        assert heard.wait(PATIENCE)

    monkeypatch.setattr(Departure, "noticed", hear)
    yield give
    assert signal.getsignal(signal.SIGUSR1) == before
    signal.signal(signal.SIGUSR1, before)


def stepping(happens: Callable[[int], None], options: str) -> tuple[Any, Kernel]:
    """Run a cell in whose steps something `happens`, and then for once, without what comes back with a snapshot."""
    module = types.ModuleType("sky")
    begun: list[int] = []

    def step(k: int) -> None:
        begun.append(k)
        if begun.count(k) == 1:
            happens(k)

    module.step = step  # type: ignore[attr-defined]
    cell = "import sky\nout = []\nfor k in range(6):\n    out.append(k)\n    sky.step(k)\nout\n"
    with pytest.MonkeyPatch.context() as patch, kernel() as book:
        patch.setitem(sys.modules, "sky", module)
        return book.run(f"%%checkpointed steps --preempt signal:USR1 {options}\n{cell}"), book


@pytest.mark.parametrize("when", ["in an iteration before", "in the one that fails", "in the pause"])
@pytest.mark.parametrize("on_preempt", ["continue", "stop"])
def test_a_notice_and_an_attempt_that_fails(
    when: str, on_preempt: str, usr1: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever it comes, the attempt after knows of it: it saves more often, and stops where that is wanted."""
    monkeypatch.setattr(retry.time, "sleep", lambda _: usr1() if when == "in the pause" else None)

    def happens(k: int) -> None:
        if k == {"in an iteration before": 1, "in the one that fails": 2}.get(when):
            usr1()
        if k == 2:
            raise OSError

    done, book = stepping(
        happens, f"--retry 2 --every {'1h' if on_preempt == 'stop' else '1it'} --on-preempt {on_preempt}"
    )
    first = Repository.open(".nbckpt").history("steps")[0].description
    if on_preempt == "continue":
        assert done.result == list(range(6))
        assert first["notice"] == "SIGUSR1 says that this machine will go"
        assert book.notices.count("SIGUSR1") == 1
        assert "retrying" in book.events
    elif when == "in an iteration before":
        assert type(done.error_in_exec) is KeyboardInterrupt
        assert first["progress"] == "k 2 of 6"
    else:
        assert type(done.error_in_exec) is KeyboardInterrupt
        assert first["progress"] == "line 3", "the first boundary of the next attempt"
        assert book.status.left == "saved"


def test_a_notice_makes_the_attempt_after_save_more_often(
    usr1: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins with a snapshot at its first boundary, though nothing else asks for one."""
    monkeypatch.setattr(retry.time, "sleep", lambda _: usr1())
    hurried = []

    def happens(k: int) -> None:
        if k == 2:
            raise OSError

    start = Schedule.start
    monkeypatch.setattr(Schedule, "start", lambda schedule: (start(schedule), hurried.append(schedule))[0])
    done, _ = stepping(happens, "--retry 2 --every 1h")
    assert done.result == list(range(6))
    _, second = hurried
    assert second._hurry is not None


def full() -> StoreError:
    """What is not tried again for long."""
    error = StoreError("There is no room left on the disk.")
    error.errno = errno.ENOSPC
    return error


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_notice_while_nothing_can_be_saved(
    comes_back: bool, usr1: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To stop would lose what is not saved: the run goes on until it is, or to its end."""
    put, away = LocalStore.put, threading.Event()

    def failing(store: LocalStore, key: str, bufs: Any, *, if_absent: bool = False) -> None:
        if away.is_set():
            raise full()
        put(store, key, bufs, if_absent=if_absent)

    def happens(k: int) -> None:
        if k == 1:
            away.set()
            usr1()
        if k == 4 and comes_back:
            away.clear()

    monkeypatch.setattr(LocalStore, "put", failing)
    monkeypatch.setattr(schedule, "SHORTEST", 0.0)
    done, book = stepping(happens, "--every 1it --on-preempt stop")
    if comes_back:
        assert type(done.error_in_exec) is KeyboardInterrupt
        assert (book.status.left, book.status.saved_progress) == ("saved", "k 5 of 6")
    else:
        assert done.result == list(range(6))
        assert book.status.unprotected == "There is no room left on the disk."


def test_an_interrupt_while_nothing_can_be_saved(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who wants it to stop is obeyed, also after a notice: the variables are in the kernel."""

    def happens(k: int) -> None:
        if k == 1:
            monkeypatch.setattr(LocalStore, "put", refuse)
        if k == 2:
            signal.raise_signal(signal.SIGINT)

    def refuse(*_: Any, **__: Any) -> None:
        raise full()

    done, book = stepping(happens, "--every 1it")
    assert type(done.error_in_exec) is KeyboardInterrupt
    assert (book.status.left, book.status.saved_progress) == ("unsaved", "k 1 of 6")


def test_a_job_whose_last_cell_is_restored_is_put_back(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notice that comes while a finished result is brought back: what follows the cell is for the next job."""
    for name, value in job(workplace).items():
        monkeypatch.setenv(name, value)
    with kernel() as book:
        book.run("%%checkpointed steps\nx = 1\n")
        (workplace / "gone").touch()
        arrive, ask, asked = Restore.arrive, Interrupts.ask, threading.Event()
        monkeypatch.setattr(Interrupts, "ask", lambda self, why: (ask(self, why), asked.set())[0])
        monkeypatch.setattr(Restore, "arrive", lambda way, *args: (arrive(way, *args), asked.wait(PATIENCE))[0])
        done = book.run("%%checkpointed steps --preempt file:gone --on-preempt requeue\nx = 1\n")
        assert type(done.error_in_exec) is KeyboardInterrupt
        assert "job 7 was put back into the queue" in book.notices
        assert book.names["x"] == 1
