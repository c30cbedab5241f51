"""What is never part of a snapshot: live things of a process, and what would come back as something else."""

from __future__ import annotations

_KINDS = {
    "an open file": """
        _io.TextIOWrapper _io._IOBase tempfile._TemporaryFileWrapper tempfile.SpooledTemporaryFile zipfile.ZipFile
        tarfile.TarFile shelve.Shelf dbm.dumb._Database dbm.sqlite3._Database _gdbm.gdbm _dbm.dbm posix.ScandirIterator
        wave.Wave_read wave.Wave_write numpy.lib._npyio_impl.NpzFile numpy.lib.npyio.NpzFile h5py._hl.base.HLObject
        tables.file.File netCDF4._netCDF4.Dataset netCDF4.Dataset rasterio._base.DatasetBase cv2.VideoCapture
        cv2.VideoWriter soundfile.SoundFile pandas.io.pytables.HDFStore pandas.io.parsers.readers.TextFileReader
        pandas.io.excel._base.ExcelFile pandas.io.excel._base.ExcelWriter lmdb.Environment
        pyarrow.lib.NativeFile pyarrow._parquet.ParquetReader pyarrow.lib.RecordBatchReader
        pyarrow.parquet.core.ParquetFile pyarrow.parquet.core.ParquetWriter pyarrow.orc.ORCFile pyarrow.orc.ORCWriter
        pyarrow.lib._RecordBatchFileReader pyarrow.lib._CRecordBatchWriter
    """,
    "a writer to an open file": "_csv.writer csv.DictWriter",
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
        paho.mqtt.client.Client kafka.KafkaConsumer
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
    "a process group": "torch._C._distributed_c10d.ProcessGroup torch.distributed.distributed_c10d.ProcessGroup",
    "a TensorBoard writer": "torch.utils.tensorboard.writer.SummaryWriter",
    "a terminal": "rich.console.Console",
    "a widget": "ipywidgets.widgets.widget.Widget",
    "the notebook's shell": "IPython.core.interactiveshell.InteractiveShell ipykernel.kernelbase.Kernel",
    "a browser": """
        selenium.webdriver.remote.webdriver.WebDriver selenium.webdriver.remote.webelement.WebElement
        playwright._impl._sync_base.SyncBase playwright._impl._async_base.AsyncBase
    """,
    "a stream of a GPU": """
        torch._C.StreamBase torch._C._CudaStreamBase torch._C._CudaEventBase torch._C._CUDAGraph torch.Stream
        torch.Event torch.cuda.graphs.CUDAGraph torch.cuda.streams.Event torch.cuda.streams.Stream
        cupy.cuda.stream._BaseStream cupy.cuda.stream.Event
    """,
}
LIVE = {name: word for word, names in _KINDS.items() for name in names.split()}
"""What belongs to its process, by the names of classes; their libraries need not be imported."""
UNDER_WAY = {"a task", "a future"}
"""Those that go on by themselves, and whose middle nobody can be at again: who has begun one needs its result."""
WRONG = {
    "re.Scanner": "a re.Scanner comes back broken",
    "unittest.mock.NonCallableMock": "a mock comes back as another one",
    "_ctypes.Structure": "a structure of ctypes does not come back",
}
"""What pickles without complaint and would not come back as it was."""
_IN_MEMORY = {"_io.BytesIO", "_io.StringIO"}


def is_kind(kind: type, name: str) -> bool:
    """Whether a class is the one of this name, or derived from it; its library need not be imported for that."""
    return name in names_of(kind)


def live_resource(kind: type) -> str | None:
    """Say what kind of live thing objects of a class are ("an open file"), or None if they are data."""
    for name in names_of(kind):
        if name in _IN_MEMORY:
            return None
        if name in LIVE:
            return LIVE[name]
    return None


def names_of(kind: type) -> list[str]:
    """A class and its bases, as `module.qualname`."""
    return [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__]
