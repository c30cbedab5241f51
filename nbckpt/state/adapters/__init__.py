"""What libraries and live things need beyond pickle: one rule a type.

An adapter module has `reduce(thing)`, or one such function a class, which returns what `object.__reduce__` may
return or raises `pickle.PicklingError`. It is imported when a class of its name (or one derived from it) is met, so
never before its library is.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Callable
from typing import Any

from ...errors import OptionError, RestoreError
from . import by_hand

Reduce = Callable[[Any], Any]

_MODULES = {
    **{
        f"builtins.dict_{order}{part}iterator": "dict_iterators"
        for order in ("", "reverse")
        for part in ("key", "value", "item")
    },
    "builtins.BaseException": "exceptions",
    "builtins.memoryview": "memory_views",
    "dataclasses._FIELD_BASE": "singletons",
    "dataclasses._MISSING_TYPE": "singletons",
    "functools._lru_cache_wrapper": "wrappers",
    "functools.cached_property": "wrappers",
    "functools.singledispatchmethod": "wrappers",
    "numpy.memmap": "memory_maps",
    "numpy.ndarray": "numpy_views",
    "numpy.random.mtrand.RandomState": "random_state",
    "pandas._libs.internals.Block": "pandas_blocks",
    "os._Environ": "singletons",
    "pandas.core.generic.NDFrame": "pandas_frames",
    "queue.Queue": "queues",
    "random.Random": "random_state",
    "torch.Tensor": "torch_tensors",
    "torch._C.Generator": "torch_random",
    "torch.device": "torch_tensors.reduce_device",
    "torch.amp.grad_scaler.GradScaler": "torch_training.reduce_scaler",
    "torch.nn.modules.module.Module": "torch_training.reduce_module",
    "torch.optim.optimizer.Optimizer": "torch_training.reduce_optimizer",
    "torch.finfo": "torch_tensors.reduce_info",
    "torch.iinfo": "torch_tensors.reduce_info",
    "torch.utils.data.dataloader.DataLoader": "torch_loaders",
    "torch.storage.TypedStorage": "torch_tensors.reduce_storage",
    "torch.storage.UntypedStorage": "torch_tensors.reduce_storage",
    "tqdm.std.tqdm": "tqdm_bar",
    "typing.NewType": "wrappers",
    "weakref.ReferenceType": "weak_references",
    "weakref.WeakKeyDictionary": "weak_references",
    "weakref.WeakValueDictionary": "weak_references",
}
"""Which adapter takes care of a class and what is derived from it, and which function of it, if not `reduce`."""

_said: list[str] = []

_registered: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {}


def register(cls: type, save: Callable[[Any], Any], load: Callable[[Any], Any]) -> None:
    """Teach nbckpt to save objects of a class that does not pickle.

    `save(thing)` returns something that does; `load` makes the object again from it. Both hold for derived
    classes that have no rule of their own.

    >>> import threading
    >>> register(type(threading.Lock()), save=lambda lock: None, load=lambda _: threading.Lock())
    """
    if not isinstance(cls, type) or not callable(save) or not callable(load):
        raise OptionError("nbckpt.register takes a class and two functions: register(cls, save=..., load=...)")
    _registered[cls] = (save, load)


def registered() -> dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]]:
    """What `register` was told, by class."""
    return dict(_registered)


def rule_for(kind: type) -> Reduce | None:
    """The rule for objects of a class, or None where pickle's own way is right."""
    for base in kind.__mro__:
        if base in _registered:
            save = _registered[base][0]
            return lambda thing: (_load_registered, (base, save(thing)))
        if module := _MODULES.get(f"{base.__module__}.{base.__qualname__}"):
            return _adapter(module)
    if name := live_resource(kind):
        return _refuse(f"{name} belongs to this process")
    if reason := next((_WRONG[name] for name in _names(kind) if name in _WRONG), ""):
        return _refuse(reason)
    if kind is object:
        return _adapter("singletons")
    return _adapter("by_hand") if by_hand.applies(kind) else None


def _adapter(name: str) -> Reduce:
    module, _, function = name.partition(".")
    reduce: Reduce = getattr(importlib.import_module(f"{__name__}.{module}"), function or "reduce")
    return reduce


def _names(kind: type) -> list[str]:
    return [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__]


def rule_for_function(function: Any) -> Reduce | None:
    """The rule for a function that a library made of another one, or None for all others."""
    if "_torchdynamo_orig_callable" in function.__dict__:
        from .torch_training import reduce_compiled

        return reduce_compiled
    return None


def is_passing(value: Any, depth: int = 3) -> bool:
    """Whether a value is, or holds, a result in the middle of its use that cannot be saved: part of torch's graph."""
    torch = sys.modules.get("torch")
    if torch is None or depth == 0:
        return False
    if isinstance(value, torch.Tensor):
        return value.grad_fn is not None
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return any(is_passing(part, depth - 1) for part in parts[:16])


def say(text: str) -> None:
    """Have a person told something about an object that is being built."""
    if text not in _said:
        _said.append(text)


def take_said() -> list[str]:
    """What adapters had to say since this was asked last."""
    said = list(_said)
    _said.clear()
    return said


def _load_registered(cls: type, saved: Any) -> Any:
    if cls not in _registered:
        raise RestoreError(
            f"the snapshot holds a {cls.__qualname__} saved through nbckpt.register, which was not called here. "
            "Nothing was touched: register it, then run the cell again"
        )
    return _registered[cls][1](saved)


def _refuse(reason: str) -> Reduce:
    def reduce(_: Any) -> Any:
        raise pickle.PicklingError(reason)

    return reduce


def is_kind(kind: type, name: str) -> bool:
    """Whether a class is the one of this name, or derived from it; its library need not be imported for that."""
    return name in _names(kind)


_KINDS_OF_LIVE = {
    "an open file": """
        _io.TextIOWrapper _io._IOBase tempfile._TemporaryFileWrapper tempfile.SpooledTemporaryFile zipfile.ZipFile
        tarfile.TarFile shelve.Shelf dbm.dumb._Database dbm.sqlite3._Database _gdbm.gdbm _dbm.dbm posix.ScandirIterator
        wave.Wave_read wave.Wave_write numpy.lib._npyio_impl.NpzFile numpy.lib.npyio.NpzFile h5py._hl.base.HLObject
        tables.file.File netCDF4._netCDF4.Dataset netCDF4.Dataset rasterio._base.DatasetBase cv2.VideoCapture
        cv2.VideoWriter soundfile.SoundFile pandas.io.pytables.HDFStore pandas.io.parsers.readers.TextFileReader
        pandas.io.excel._base.ExcelFile pandas.io.excel._base.ExcelWriter lmdb.Environment
        pyarrow.lib.NativeFile pyarrow._parquet.ParquetReader pyarrow.lib.RecordBatchReader
    """,
    "a temporary directory": "tempfile.TemporaryDirectory",
    "a memory map": "mmap.mmap numpy.memmap multiprocessing.shared_memory.SharedMemory",
    "a socket": "_socket.socket ssl.SSLContext _ssl._SSLContext selectors.BaseSelector zmq.sugar.socket.Socket",
    "a connection": """
        http.client.HTTPConnection http.client.HTTPResponse smtplib.SMTP ftplib.FTP imaplib.IMAP4 poplib.POP3
        telnetlib.Telnet multiprocessing.connection._ConnectionBase urllib3.poolmanager.PoolManager
        urllib3.connectionpool.ConnectionPool httpx._client.BaseClient aiohttp.client.ClientSession
        aiohttp.connector.BaseConnector botocore.client.BaseClient boto3.session.Session botocore.session.Session
        boto3.resources.base.ServiceResource google.cloud.client.Client paramiko.client.SSHClient
        paramiko.sftp_client.SFTPClient grpc.Channel grpc.aio._base_channel.Channel websocket._core.WebSocket
        openai._base_client.BaseClient anthropic._base_client.BaseClient paho.mqtt.client.Client kafka.KafkaConsumer
        distributed.client.Client pyspark.sql.session.SparkSession pyspark.context.SparkContext
    """,
    "a database connection": """
        sqlite3.Connection sqlalchemy.engine.base.Connection sqlalchemy.engine.base.Engine
        sqlalchemy.orm.session.Session sqlalchemy.pool.base.Pool psycopg2.extensions.connection
        psycopg._connection_base.BaseConnection psycopg_pool.base.BasePool pymysql.connections.Connection
        MySQLdb.connections.Connection mysql.connector.abstracts.MySQLConnectionAbstract pyodbc.Connection
        cx_Oracle.Connection oracledb.connection.BaseConnection asyncpg.connection.Connection
        duckdb.DuckDBPyConnection duckdb.duckdb.DuckDBPyConnection _duckdb.DuckDBPyConnection redis.client.Redis
        redis.asyncio.client.Redis redis.connection.ConnectionPool pymongo.mongo_client.MongoClient
        pymongo.synchronous.mongo_client.MongoClient pymongo.database.Database pymongo.collection.Collection
        pymongo.synchronous.database.Database pymongo.synchronous.collection.Collection
        snowflake.connector.connection.SnowflakeConnection elasticsearch.Elasticsearch peewee.Database
    """,
    "a database cursor": """
        sqlite3.Cursor sqlalchemy.engine.result.Result sqlalchemy.engine.cursor.CursorResult psycopg2.extensions.cursor
        psycopg._cursor_base.BaseCursor pymysql.cursors.Cursor pyodbc.Cursor pymongo.cursor.Cursor
        pymongo.synchronous.cursor.Cursor duckdb.DuckDBPyRelation duckdb.duckdb.DuckDBPyRelation
    """,
    "a lock": """
        _thread.lock _thread.RLock threading._RLock threading.Condition threading.Event threading.Semaphore
        threading.Barrier multiprocessing.synchronize.SemLock multiprocessing.synchronize.Event
        multiprocessing.synchronize.Condition filelock._api.BaseFileLock
    """,
    "a queue": "_queue.SimpleQueue multiprocessing.queues.Queue multiprocessing.queues.SimpleQueue",
    "shared memory": "multiprocessing.sharedctypes.SynchronizedBase",
    "a thread": "threading.Thread",
    "thread-local data": "_thread._local",
    "a logging handler": "logging.Handler logging.handlers.QueueListener",
    "an executor": "concurrent.futures._base.Executor joblib.parallel.Parallel",
    "a future": "concurrent.futures._base.Future _asyncio.Future asyncio.futures.Future distributed.client.Future",
    "a process pool": "multiprocessing.pool.Pool multiprocess.pool.Pool",
    "a process": """
        multiprocessing.process.BaseProcess subprocess.Popen asyncio.subprocess.Process
        multiprocessing.managers.BaseManager multiprocessing.managers.BaseProxy pexpect.spawnbase.SpawnBase
    """,
    "an event loop": "asyncio.events.AbstractEventLoop asyncio.runners.Runner",
    "a task": "_asyncio.Task asyncio.tasks.Task",
    "a loaded library": "ctypes.CDLL _ctypes.CFuncPtr",
    "a finalizer": "weakref.finalize",
    "a progress bar": "rich.progress.Progress rich.live.Live rich.status.Status progressbar.bar.ProgressBarMixinBase",
    "a process group": "torch._C._distributed_c10d.ProcessGroup",
    "a TensorBoard writer": "torch.utils.tensorboard.writer.SummaryWriter",
    "a terminal": "rich.console.Console",
    "a widget": "ipywidgets.widgets.widget.Widget",
    "the notebook's shell": "IPython.core.interactiveshell.InteractiveShell ipykernel.kernelbase.Kernel",
    "a browser": """
        selenium.webdriver.remote.webdriver.WebDriver selenium.webdriver.remote.webelement.WebElement
        playwright._impl._sync_base.SyncBase playwright._impl._async_base.AsyncBase
    """,
    "a stream of a GPU": """
        torch._C.StreamBase torch._C._CudaStreamBase torch._C._CudaEventBase torch._C._CUDAGraph torch.Stream torch.Event cupy.cuda.stream._BaseStream
        cupy.cuda.stream.Event
    """,
}
_LIVE = {name: word for word, names in _KINDS_OF_LIVE.items() for name in names.split()}
_WRONG = {
    "re.Scanner": "a re.Scanner comes back broken",
    "unittest.mock.NonCallableMock": "a mock comes back as another one",
    "_ctypes.Array": "an array of ctypes does not come back",
    "_ctypes.Structure": "a structure of ctypes does not come back",
}
"""What pickles without complaint and would not come back as it was."""
_IN_MEMORY = {"_io.BytesIO", "_io.StringIO"}


def live_resource(kind: type) -> str | None:
    """Say what kind of live thing objects of a class are ("an open file"), or None if they are data."""
    for name in _names(kind):
        if name in _IN_MEMORY:
            return None
        if name in _LIVE:
            return _LIVE[name]
    return None
