"""pandas, polars, pyarrow: tables, their columns and what loops over them."""

from programs.harness import Program

_PANDAS = "pandas: DataFrame, Series, Index, extension types"
_POLARS = "polars: DataFrame, Series, LazyFrame"
_PYARROW = "pyarrow: Array, Table, RecordBatch"

PROGRAMS = [
    Program(
        "pandas_types",
        "Every kind of column and index comes back as it was, names, frequencies and categories included.",
        """
import pandas as pd
days = pd.date_range("2026-01-01", periods=4, freq="2D", tz="UTC", name="day")
pairs = pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["letter", "number"])
table = pd.DataFrame({"x": pd.array([1, None, 3, 4], dtype="Int64"), "s": list("abca")}, index=pairs)
table["c"] = pd.Categorical(["lo", "hi", "lo", "hi"], categories=["lo", "hi"], ordered=True)
table["p"] = pd.period_range("2026-01", periods=4, freq="M")
table["i"] = pd.arrays.IntervalArray.from_breaks([0, 1, 2, 3, 4])
table["n"] = pd.arrays.SparseArray([0, 0, 1, 0])
table["o"] = [[0], {}, None, (1,)]
series = pd.Series(range(4), index=days, dtype="float32", name="value")
table.attrs["made"] = "here"
for k in range(4):
    table.loc[pairs[k], "x"] = k * 10
    table["o"].iloc[0].append(k)
    series.iloc[k] += 0.5
    table = table.sort_values("c", kind="stable") if k == 2 else table
delta = series.index[1:] - series.index[:-1]
print(table.groupby("c", observed=True)["x"].sum().to_dict(), series.index.freq, series.resample("4D").sum().tolist())
table.dtypes.astype(str).tolist()
""",
        library="pandas",
        row=_PANDAS,
    ),
    Program(
        "pandas_options",
        "How tables are shown is part of what the cell has set.",
        """
import pandas as pd
pd.set_option("display.precision", 2)
pd.options.display.max_rows = 5
out = []
for k in range(3):
    out.append(str(pd.Series([1 / (k + 3)])))
    out.append(pd.get_option("display.max_rows"))
pd.reset_option("display.precision")
pd.reset_option("display.max_rows")
out
""",
        before=(
            "import pandas as pd\nfor name in ('precision', 'max_rows'):\n    pd.reset_option(f'display.{name}')\n",
        ),
        needs_before=True,
        library="pandas",
        row="pandas: options",
    ),
    Program(
        "pandas_attrs",
        "What a table and a variable have in common beside the table's data stays so.",
        """
import pandas as pd
df = pd.DataFrame({"a": [1, 2]})
notes = df.attrs
notes["n"], series = 0, pd.Series([1, 2])
series.attrs["log"] = log = []
for k in range(3):
    notes["n"] += 1
    log.append(k)
df.attrs, series.attrs
""",
        library="pandas",
        row=_PANDAS,
    ),
    Program(
        "pandas_loops",
        "Loops over rows and groups go on at the row and the group they had come to.",
        """
import pandas as pd
df = pd.DataFrame({"k": [1, 2, 1, 3], "v": [1.5, 2.5, 3.5, 4.5], "w": list("abca")})
grouped, changed, out = df.groupby("k"), df.copy(), []
for index, row in df.iterrows():
    out.append((index, row["k"], row["v"]))
for row in df.itertuples():
    out.append((row.Index, row.w))
for key, part in df.groupby("w"):
    out.append((key, part["v"].sum()))
for key, part in grouped:
    changed.loc[part.index, "v"] += 1
    out.append((key, part["v"].tolist()))
for name, column in df.items():
    out.append((name, column.iloc[-1]))
for value in df["v"]:
    out.append(value)
out, grouped["v"].mean().to_dict()
""",
        library="pandas",
        row="pandas: loops over iterrows, itertuples, groupby, items",
        at_least=20,
    ),
    Program(
        "pandas_strings_of_arrow",
        "Columns that pyarrow holds stay pyarrow's.",
        """
import pandas as pd
import pyarrow as pa
df = pd.DataFrame({"s": pd.array(["a", None, "c"], dtype="string[pyarrow]")})
df["n"] = pd.Series([1, None, 3], dtype=pd.ArrowDtype(pa.int64()))
df["l"] = pd.Series([[1], [], None], dtype=pd.ArrowDtype(pa.list_(pa.int8())))
for k in range(3):
    df.loc[k, "s"] = f"row {k}"
    df["n"] = df["n"] + k
df.dtypes.astype(str).tolist(), df["s"].str.upper().tolist()
""",
        library="pandas pyarrow",
        row=_PANDAS,
    ),
    Program(
        "pandas_sharing",
        "Frames that are one object, or that hold one list, still do; copies on write stay apart.",
        """
import pandas as pd
base = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [[0], [1], [2]]})
again, shallow, column = base, base.copy(deep=False), base["a"]
cells = base["b"].tolist()
for k in range(3):
    base.loc[k, "a"] = 10.0 * k
    cells[k].append(k)
    column = column + k
again is base, shallow["a"].tolist(), column.tolist(), base["b"].tolist(), base["b"].iloc[0] is cells[0]
""",
        library="pandas",
        row=_PANDAS,
    ),
    Program(
        "polars_frames",
        "Frames, series and lazy plans come back, and loops over rows and groups go on.",
        """
import datetime
import polars as pl
df = pl.DataFrame({"k": [1, 2, 1, 3], "s": ["a", None, "c", "a"], "l": [[1], [], None, [2, 3]]})
df = df.with_columns(c=pl.col("s").cast(pl.Categorical), d=pl.lit(datetime.date(2026, 1, 1)))
series, lazy, out = pl.Series("x", [1.5, 2.5], dtype=pl.Float32), df.lazy().filter(pl.col("k") < 3), []
for row in df.iter_rows():
    out.append(row[:2])
for row in df.iter_rows(named=True):
    out.append(row["l"])
for key, part in df.group_by("k", maintain_order=True):
    out.append((key, part.height))
for column in df.iter_columns():
    out.append(column.name)
for k in range(3):
    df = df.with_columns(k=pl.col("k") + k)
    series.append(pl.Series([float(k)], dtype=pl.Float32))
out, lazy.collect()["k"].to_list(), df.select(pl.col("k").sum()).item(), series.to_list()
""",
        library="polars",
        row=_POLARS,
        at_least=18,
    ),
    Program(
        "pyarrow_files",
        "Files that an earlier cell opened are left out, and used as it has opened them again.",
        """
out = []
for group in range(rows.num_row_groups):
    table = rows.read_row_group(group)
    for batch in table.to_batches():
        out.append(batch.column("k").to_pylist())
for index in range(ipc.num_record_batches):
    out.append(ipc.get_batch(index).to_pydict())
for batch in rows.iter_batches(batch_size=2):
    out.append(batch.to_pydict())
out
""",
        before=(
            """
import pathlib, tempfile
import pyarrow as pa, pyarrow.parquet as pq
folder = pathlib.Path(tempfile.gettempdir())
table = pa.table({"k": list(range(6))})
pq.write_table(table, folder / "nbckpt-rows.parquet", row_group_size=2)
with pa.ipc.new_file(str(folder / "nbckpt-rows.arrow"), table.schema) as sink:
    for k in range(3):
        sink.write_table(table.slice(k, 2))
rows = pq.ParquetFile(folder / "nbckpt-rows.parquet")
ipc = pa.ipc.open_file(str(folder / "nbckpt-rows.arrow"))
""",
        ),
        needs_before=True,
        unsaved=frozenset({"rows", "ipc", "sink"}),
        library="pyarrow",
    ),
    Program(
        "pyarrow_tables",
        "Tables, batches and arrays come back with their types; slices keep their values.",
        """
import pyarrow as pa
import pyarrow.compute as pc
table = pa.table({"n": [1, 2, 3, 4], "s": ["a", "b", None, "d"], "l": [[1], [2, 3], [], None]})
chunked = pa.chunked_array([[1, 2], [3]], type=pa.int16())
batch = pa.record_batch({"x": pa.array([1.5, None, 2.5])})
part, words = table.slice(1, 2), pa.array(["x", "y", "x"]).dictionary_encode()
schema = pa.schema([pa.field("when", pa.timestamp("us", tz="UTC"), nullable=False, metadata={"unit": "us"})])
total, out = pa.scalar(0), []
for k in range(3):
    table = table.set_column(0, "n", pc.add(table["n"], k))
    total = pc.add(total, pc.sum(part["n"]))
    out.append(table["n"].to_pylist())
for piece in table.to_batches(max_chunksize=2):
    out.append(piece.num_rows)
out, total.as_py(), part.to_pylist(), words.to_pylist(), schema.field("when").metadata, chunked.num_chunks
""",
        library="pyarrow",
        row=_PYARROW,
    ),
]
