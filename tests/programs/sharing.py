"""Names outside the cell that share objects with what the cell uses, and memory that many look into."""

from __future__ import annotations

from .harness import Program

PROGRAMS = [
    Program(
        "a_model_behind_a_trainer",
        "The cell names only the trainer; the model it trains is the notebook's, with all that holds it.",
        """
for epoch in range(3):
    for x in (1.0, 2.0):
        trainer.step(x)
trainer.model.w.tolist()
""",
        before=(
            """
import numpy as np
class Model:
    def __init__(self):
        self.w = np.zeros(3)
class Trainer:
    def __init__(self, model):
        self.model, self.log = model, []
    def step(self, x):
        self.model.w += x
        self.log.append(x)
model = Model()
trainer = Trainer(model)
best = {"model": model, "log": trainer.log}
weights = model.w[1:]
untouched = [1, 2]
""",
        ),
        after=("checks = (trainer.model is model, best['log'] is trainer.log, weights.base is model.w)",),
        at_least=8,
        row="Variables: names outside the cell that share objects with what it uses",
    ),
    Program(
        "a_row_of_a_table",
        "A second name for a part of an input is that part of the restored input.",
        """
for row in table:
    for k in range(2):
        row.append(k)
table[0] = None
for k in range(2):
    table.append([k])
""",
        before=("table = [[1], [2], [3]]\nfirst = table[0]\nlast = table[-1]\nby_name = {'second': table[1]}",),
        after=("checks = (first, last is table[2], by_name['second'] is table[1], len(table))",),
    ),
    Program(
        "chains_of_sharing",
        "What shares something with a name that shares something belongs to it, too.",
        """
for k in range(3):
    a.append(k)
""",
        before=(
            """
class Box:
    pass
a, link, end = [0], Box(), Box()
link.a, link.end = a, end
far = [end, [9]]
nothing = [9]
""",
        ),
        after=("link.a.append('x')\nfar[0].mark = 1\nchecks = (link.a is a, far[0] is link.end, far[0] is end)",),
    ),
    Program(
        "an_outsider_that_cannot_be_saved",
        "A name that shares a list and holds a lock is left as it is; the cell resumes without it.",
        """
for k in range(4):
    xs.append(k)
""",
        before=(
            """
class Holder:
    def __init__(self, xs):
        self.xs = xs
    def __reduce__(self):
        raise TypeError("it stays here")
xs = []
holder = Holder(xs)
keeper = [holder]
""",
        ),
        unsaved=frozenset({"holder", "keeper", "Holder"}),
    ),
    Program(
        "views_across_variables",
        "Views in variables, containers and objects look into the memory of an array that only one of them names.",
        """
import numpy as np
base = np.arange(12.0).reshape(3, 4)
row, column, back = base[1], base[:, 2], base[::-1, ::2]
views = {"row": row, "all": [base.T, base.ravel()]}
del base
for k in range(4):
    row[k] += 10
    column *= 2
    back[0, 0] -= k
    views["all"][1][k] = -k
row.tolist(), column.tolist(), back.tolist()
""",
        at_least=9,
        row="NumPy: views of one array, also across variables and containers",
    ),
    Program(
        "arrays_over_bytes",
        "Arrays over one bytearray, and the bytearray itself, stay one memory.",
        """
import array
import numpy as np
raw = bytearray(64)
whole, part = np.frombuffer(raw, "u1"), np.frombuffer(memoryview(raw)[16:48], "f8")
packed = array.array("d", [1, 2, 3])
over = np.frombuffer(packed)
for k in range(4):
    part[k % 4] = k + 0.5
    over[k % 3] += k
    raw[k] = 7
    whole[60] += 1
bytes(raw), packed.tolist(), over.tolist()
""",
        at_least=8,
        row="NumPy: arrays over a bytearray or an array.array",
    ),
    Program(
        "views_of_objects",
        "Views of an array of objects see what is put into it, and windows and broadcasts are views, too.",
        """
import numpy as np
cells = np.array([[1, [2]], [3, {4}]], dtype=object)
column, flat = cells[:, 1], cells.ravel()
series = np.arange(6.0)
windows = np.lib.stride_tricks.sliding_window_view(series, 3)
stacked = np.broadcast_to(series, (2, 6))
for k in range(4):
    column[k % 2] = [k]
    flat[0] = k
    series[k] = -k
cells.tolist(), column.tolist(), windows[:, 0].tolist(), stacked[1].tolist()
""",
        at_least=9,
    ),
    Program(
        "arrays_own_their_memory",
        "An array can be resized in place after a resume as before, and keeps the order of its axes.",
        """
import numpy as np
grown = np.zeros(2)
turned = np.asfortranarray(np.arange(6.0).reshape(2, 3))
mixed = np.empty_like(np.zeros((2, 3, 4)).transpose(1, 0, 2))
mixed[...] = 1
frozen = np.arange(3)
frozen.flags.writeable = False
for k in range(4):
    grown.resize(len(grown) + 1, refcheck=False)
    grown[-1] = k
grown.tolist(), turned.flags.f_contiguous, mixed.strides, frozen.flags.writeable, grown.flags.owndata
""",
        row="NumPy: dtype, layout in memory, read-only flags, arrays that own their memory",
    ),
    Program(
        "a_list_of_a_great_many_links",
        "A structure far deeper than Python's stack is saved.",
        """
from functools import reduce
class Link:
    def __init__(self, left):
        self.left = left
chain = reduce(lambda left, _: Link(left), range(5000), None)
nested = reduce(lambda left, _: [left], range(5000), [])
chain.mark = nested
for k in range(2):
    chain = Link(chain)
def length(at):
    count = 0
    while at:
        at, count = at[0] if isinstance(at, list) else at.left, count + 1
    return count
lengths = length(chain), length(nested)
del chain, nested, reduce
lengths
""",
        row="Variables: structures of thousands of levels",
    ),
    Program(
        "parts_of_their_own",
        "Variables that share only what cannot change come back as they were, together or not.",
        """
word = "a word that both have"
one, two = {"w": word, "xs": [1.5]}, {"w": word, "xs": [1.5]}
big = dict((str(k), [k] * 20) for k in range(500))
alias = big["7"]
for k in range(4):
    one["xs"].append(k)
    big[str(k)].append(k)
    alias[0] += 1
one["xs"] == two["xs"], alias is big["7"], len(big)
""",
    ),
    Program(
        "a_list_in_a_tuple_that_two_share",
        "What is shared through something that cannot change is shared, too.",
        """
pair[0].append(2.5)
for k in range(3):
    pair[0].append(k)
    append(k * 10)
both
""",
        before=("pair = ([], 'x')\nboth = [[(pair,)]]\nappend = [].append\nsame = {'append': append}\n",),
        after=("checks = (both[0][0][0] is pair, same['append'].__self__ is append.__self__, append.__self__)",),
    ),
    Program(
        "definitions_that_share",
        "A function's default and a class's attribute, which the cell does not name, are the list that it fills.",
        """
for k in range(3):
    xs.append(k)
""",
        before=(
            """
xs = []
def add(x, to=xs):
    to.append(x)
class Log:
    items = xs
    def put(self, x, to=xs):
        to.append(x)
""",
        ),
        after=("add(10)\nLog().put(11)\nLog.items.append(12)\nends = xs[-3:]\n",),
        row="Variables: names outside the cell that share objects with what it uses",
    ),
    Program(
        "views_of_dicts",
        "Views of keys, values and items, and read-only ones, go on showing what is in the dict.",
        """
import types
from collections import OrderedDict
class Counter:
    count = 0
ordered, attributes = OrderedDict(), vars(Counter)
keys, values, items, first = d.keys(), d.values(), d.items(), ordered.keys()
for k in range(3):
    d[k] = ordered[-k] = k
    box.d[k] = k
    Counter.count += 1
list(keys), list(values), list(items), list(first), list(view), list(box.view), attributes["count"], keys is d.keys()
""",
        before=(
            """
import types
class Box: pass
d, box = {}, Box()
view, box.d = types.MappingProxyType(d), {}
box.view = types.MappingProxyType(box.d)
""",
        ),
        after=("d[9] = box.d[9] = 9\nends = list(view), list(box.view)\n",),
        row="Variables: views of dicts, read-only ones too",
    ),
    Program(
        "elements_of_arrays_of_records",
        "An element is a view of its array, however deep it lies; fields are, where others hold objects, too.",
        """
import numpy as np
table = np.zeros(3, dtype=[("x", "f8"), ("p", [("a", "i4"), ("b", "i4", (2,))])])
best, inner, deep = table[1], table[2]["p"], table[0]["p"]["b"]
record, alone = table.view(np.recarray)[0], np.array((1.0, (2, (3, 4))), dtype=table.dtype)[()]
mixed = np.zeros(3, dtype=[("name", "O"), ("v", "f8")])
numbers, names, one, part = mixed["v"], mixed["name"], mixed[1], mixed[1:]["v"]
records, out = table.view(np.recarray), []
for k, row in enumerate(table):
    row["x"] += 1
    best["x"] += 2
    inner["a"] += 3
    deep[0] -= 1
    record.x += 10
    alone["x"] += 1
    numbers[k] += 1
    part[0] += 5
    names[k] = str(k)
    one["v"] *= 2
    out.append((table.tolist(), mixed.tolist(), best["x"], records[0].x, alone["x"], one["name"]))
del mixed, numbers, names, one, part
print(out)
""",
        row="NumPy: elements of arrays of records, which are views of them",
    ),
    Program(
        "arrays_over_foreign_memory",
        "Arrays over one mmap, or one ctypes array, go on sharing their memory, though it is another one.",
        """
for k in range(3):
    whole[k], part[0] = k, k
    numbers[k] += 1
    out.append((again.tolist(), others.tolist()))
""",
        before=(
            """
import ctypes, mmap
import numpy as np
pages, cells, out = mmap.mmap(-1, 16), (ctypes.c_double * 4)(), []
whole, again = np.frombuffer(pages, "u1"), np.frombuffer(memoryview(pages), "u1")
part, numbers, others = whole[5:], np.ctypeslib.as_array(cells), np.frombuffer(cells)
""",
        ),
        after=("whole[6], numbers[0] = 99, 7\nends = again.tolist(), others.tolist()\n",),
        unsaved=frozenset({"pages", "cells"}),
        row="NumPy: arrays over one mmap or one ctypes array",
    ),
    Program(
        "tables_that_share_memory",
        "A table and a column, a part or an index of it stay apart when one is written to, whatever is in them.",
        """
import numpy as np
import pandas as pd
days = pd.date_range("2020", periods=3)
df = pd.DataFrame({"t": days, "i": pd.array([1, 2, None], dtype="Int64"), "c": pd.Categorical(list("xyx"))})
df["f"], df["g"] = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
columns, part, by_day = [df[name] for name in df], df[["t", "f", "g"]], df.set_index("t", drop=False)
one, late, renamed, flat = df["f"], df["t"][1:], df.rename(columns={"f": "x"}), df.copy(deep=False)
begun = one[:2]
out = []
for k in range(3):
    df.loc[k, ["t", "i", "c", "f"]] = [pd.Timestamp(2000 + k, 1, 1), 10 + k, "y", -1.0]
    by_day.iloc[k, 0] = pd.Timestamp(1990, 1, 1)
    one.iloc[k] = 100.0 + k
    flat.iloc[k, 3] = 50.0
    out.append([column.tolist() for column in (*columns, one, begun, late)])
    out.append([table.values.tolist() for table in (df, part, by_day, renamed, flat)])
    out.append(by_day.index.tolist())
print(out)
""",
        row="pandas: DataFrame and Series, copied on write",
    ),
    Program(
        "tables_over_arrays",
        "A table made over an array without a copy, and an array taken from one, go on sharing their memory.",
        """
import numpy as np
import pandas as pd
for k in range(3):
    table.loc[k, "a"] = 10.0 * k
    array[k, 1] = -k
    series.iloc[k] = 7.0
    numbers.loc[k, "n"] = k
    out.append((table.values.tolist(), array.tolist(), series.tolist(), seen.tolist(), other["b"].tolist()))
out
""",
        before=(
            """
import numpy as np
import pandas as pd
array, out = np.arange(6.0).reshape(3, 2), []
table = pd.DataFrame(array, columns=["a", "b"], copy=False)
series = pd.Series(array[:, 0], copy=False)
numbers = pd.DataFrame({"n": [5, 6, 7]})
seen, other = numbers["n"].to_numpy(), table[["b"]]
""",
        ),
        after=("array[2, 0] = 5\nends = table.values.tolist()\n",),
        row="pandas: arrays that a table was made over, or that were taken from it",
    ),
]
