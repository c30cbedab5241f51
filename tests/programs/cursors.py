"""What loops go over."""

from .harness import Program

_NEST = """
    for j in range(2):
        log.append((x, j))
    log.append(x)
"""

PROGRAMS = [
    Program(
        "ranges",
        "Ranges go on by their index, whatever their direction and size.",
        """
log = []
for x in range(5, -4, -3):
    for y in range(1 << 80, (1 << 80) + 2):
        log.append((x, y))
    log.append(x)
for x in range(3):
    log.append(x)
log
""",
        row="Loops: over ranges, lists, tuples, strings",
    ),
    Program(
        "sequences",
        "Tuples, strings, bytes and user sequences go on by their index.",
        """
class Sequence:
    def __init__(self, n):
        self.n, self.asked = n, 0
    def __getitem__(self, index):
        self.asked += 1
        if index >= self.n:
            raise IndexError(index)
        return index * 10
log = []
for x in (1, "two", None):
    for y in "aé":
        log.append((x, y))
for x in b"xy":
    for y in bytearray(b"pq"):
        log.append((x, y))
source = Sequence(3)
for x in source:
    for y in Sequence(2):
        log.append((x, y))
source.asked, log
""",
        at_least=20,
        row="Loops: over ranges, lists, tuples, strings",
    ),
    Program(
        "list_growing_while_iterated",
        "What the body appends to the list is gone through too, once.",
        """
import ledger
todo, done = [3], []
for n in todo:
    ledger.note(n)
    done.append(n)
    for k in range(n - 1, 0, -2):
        todo.append(k)
todo, done
""",
        at_least=6,
        row="Loops: over lists that change meanwhile",
    ),
    Program(
        "list_items_changed_in_place",
        "The current item is the list's own element: what the body does to it shows in the list.",
        """
people = [{"n": 0, "id": k} for k in range(3)]
for person in people:
    person["n"] += 1
    for j in range(2):
        person["n"] += 10
        person.setdefault("seen", []).append(j)
    people[0]["last"] = person
person is people[-1], people[0]["last"] is person
""",
        at_least=8,
        row="Loops: over lists that change meanwhile",
    ),
    Program(
        "dicts_and_views",
        "Dicts, keys, values and items go on with what is left, and share their values with it.",
        """
d = {"a": [1], "b": [2], "c": [3]}
log = []
for key in d:
    for j in range(2):
        d[key].append(j)
for key in d.keys():
    log.append(key)
for value in d.values():
    value.append("v")
    for j in range(1):
        value.append(j)
for key, value in d.items():
    for j in range(2):
        value.append((key, j))
    d[key] = list(value)
for key in reversed(d):
    log.append(key)
value is d["c"], log
""",
        at_least=20,
        row="Loops: over dicts, their keys, values and items",
    ),
    Program(
        "sets",
        "Sets yield each element once, in the order in which they began to.",
        """
import ledger
words = {"pear", "fig", "plum", "kiwi", "lime"}
order = []
for word in words:
    ledger.note(word)
    order.append(word)
    for letter in frozenset(word[:2]):
        order.append(letter)
order.sort()
del word, letter
order
""",
        unordered=True,
        at_least=10,
        row="Loops: over sets",
    ),
    Program(
        "enumerate_zip_reversed_filter",
        "Iterators made of others go on where all of them were.",
        """
log = []
xs = [1, 2, 3]
for i, x in enumerate(xs, 5):
    for j, y in zip("ab", xs):
        log.append((i, x, y))
for x in reversed(xs):
    for y in filter(None, [0, 1, 0, 2]):
        log.append((x, y))
for x, y in zip(range(2), enumerate(reversed("ab"))):
    for z in range(1):
        log.append((x, y))
log
""",
        at_least=20,
        row="Loops: over enumerate, zip, map, filter, reversed, itertools",
    ),
    Program(
        "map_calls_once",
        "`map` never calls its function again for items that are done.",
        """
import ledger
calls = []
def f(x):
    ledger.note(x)
    calls.append(x)
    return x * x
log = []
for y in map(f, range(4)):
    for j in range(2):
        log.append((y, j))
for y in map(lambda a, b: a + b, [1, 2, 3], (10, 20, 30)):
    log.append(y)
calls
""",
        row="Loops: over enumerate, zip, map, filter, reversed, itertools",
    ),
    Program(
        "one_iterator_in_two_loops",
        "An iterator held by a name is the very one that the loops draw from.",
        """
it = iter([1, 2, 3, 4, 5, 6])
log = []
for a in it:
    log.append(a)
    if a == 2:
        break
for a in it:
    for b in it:
        log.append((a, b))
        if b % 2 == 0:
            break
next(it, "empty"), log
""",
        row="Loops: over an iterator that a variable holds",
    ),
    Program(
        "user_iterator",
        "An iterator of the user's own class goes on where it was, and is the same object as its other name.",
        """
class Countdown:
    def __init__(self, n):
        self.n = n
    def __iter__(self):
        return self
    def __next__(self):
        if self.n == 0:
            raise StopIteration
        self.n -= 1
        return self.n
count, log = Countdown(5), []
for x in count:
    for y in Countdown(2):
        log.append((x, y, count.n))
    if x == 3:
        count.n -= 1
count.n, log
""",
        row="Loops: over iterators of your own classes",
    ),
    Program(
        "user_iterator_that_begins_anew",
        "An object whose `__iter__` begins anew, and is its own iterator, is asked for that once.",
        """
class Files:
    def __init__(self, n, lock=None):
        self.n, self.lock = n, lock
    def __iter__(self):
        self.at = 0
        return self
    def __next__(self):
        if self.at == self.n:
            raise StopIteration
        self.at += 1
        return self.at
log = []
for x in Files(4):
    log.append(x)
for x in Files(2):
    for y in Files(3):
        log.append((x, y))
doubled = [2 * x for x in Files(4)]
unique = {x for x in Files(3)}
def locked(n):
    import threading
    return Files(n, threading.Lock())
for x in locked(3):
    log.append(x)
del x, y
log, doubled, unique
""",
        at_least=20,
        row="Loops: over iterators of your own classes",
    ),
    Program(
        "user_iterable_with_generator_method",
        "`__iter__` that is a generator is replayed.",
        """
class Source:
    def __init__(self, items):
        self.items = items
    def __iter__(self):
        for item in self.items:
            yield item, len(self.items)
source, log = Source(["a", "b", "c"]), []
for item, n in source:
    for x, _ in source:
        log.append((item, n, x))
log
""",
    ),
    Program(
        "generator_function",
        "A generator's finished items are drawn again and dropped.",
        """
def numbers(n):
    k = 0
    while k < n:
        yield k
        k += 1
log = []
for a in numbers(3):
    for b in numbers(a + 1):
        log.append((a, b))
log
""",
        row="Loops: over generators",
    ),
    Program(
        "generator_expressions",
        "Generator expressions over the cell's names.",
        """
base = [1, 2, 3]
log = []
for a in (x * 2 for x in base):
    for b in (a + y for y in base if y != 2):
        log.append((a, b))
sum(x for x in base)
""",
    ),
    Program(
        "generator_drawing_random_numbers",
        "A replayed generator draws the random numbers that it drew, and afterwards the next ones come.",
        """
import random
random.seed(5)
log = []
def shuffled(n):
    order = random.sample(range(n), n)
    for k in order:
        yield k
for a in shuffled(4):
    log.append(random.random())
    for b in (random.randint(0, 99) for _ in range(2)):
        log.append((a, b))
    log.append(random.random())
random.random()
""",
        row="Loops: over generators",
    ),
    Program(
        "shuffled_batches_of_a_numpy_generator",
        "A generator that shuffles with a NumPy Generator yields the same permutation, and the Generator goes on.",
        """
import numpy as np
rng = np.random.default_rng(3)
data = np.arange(6)
def batches(n):
    order = rng.permutation(len(data))
    for k in range(0, len(data), n):
        yield data[order[k:k + n]]
log = []
for epoch in range(2):
    for batch in batches(2):
        noise = rng.random()
        log.append((epoch, batch.sum(), noise))
rng.random()
""",
        row="Loops: over generators",
    ),
    Program(
        "global_random_states",
        "`random` and `np.random` go on as if nothing had happened, seeded or not.",
        """
import random
import numpy as np
log = [random.random(), np.random.rand()]
for k in range(3):
    log.append(random.gauss(0, 1))
    for x in np.random.permutation(3):
        log.append((x, np.random.randn(), random.choice("abc")))
np.random.rand(), random.random()
""",
        row="Random numbers: the global generators of `random` and `numpy.random`",
    ),
    Program(
        "random_generators_in_variables",
        "Generators that variables hold are variables, shared where they are shared.",
        """
import random
import numpy as np
mine = random.Random(1)
rng = np.random.default_rng(2)
class Sampler:
    def __init__(self, rng):
        self.rng = rng
sampler = Sampler(rng)
log = []
for k in range(3):
    log.append(sampler.rng.integers(100))
    for j in range(2):
        log.append((mine.random(), rng.random()))
sampler.rng is rng
""",
        row="Random numbers: generators in variables",
    ),
    Program(
        "numpy_arrays",
        "Arrays are gone through by rows, which are views of them, and other views stay views.",
        """
import numpy as np
a = np.arange(6.0).reshape(3, 2)
column = a[:, 0]
flat = a.reshape(-1)
big = np.zeros(5000)
part = big[1000:4000:2]
log = []
for row in a:
    row *= 2
    for x in column:
        log.append(float(x))
        big[1000] += x
    part[1] += 1
column[0], part[0]
""",
        row="NumPy: arrays, and views of one another",
    ),
    Program(
        "dataframes",
        "itertuples and iterrows go on with the rows that are left.",
        """
import pandas as pd
df = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]})
totals = df["b"].copy()
log = []
for row in df.itertuples():
    for k in range(2):
        log.append((row.a, row.b, k))
for index, row in df.iterrows():
    totals.loc[index] += 10
    for name in df.columns:
        log.append((index, name, row[name]))
for name, column in df.items():
    log.append((name, float(column.sum())))
for key, group in df.groupby("a"):
    log.append((key, len(group)))
totals.sum()
""",
        row="pandas: loops over itertuples and iterrows",
    ),
    Program(
        "state_dict_source",
        "An object with state_dict and load_state_dict is told where it was, and draws nothing again.",
        """
import ledger
class Loader:
    def __init__(self, n):
        self.n, self.at, self.gate = n, 0, (k for k in ())
    def __iter__(self):
        while self.at < self.n:
            self.at += 1
            ledger.note(self.at)
            yield self.at
        self.at = 0
    def state_dict(self):
        return {"at": self.at}
    def load_state_dict(self, state):
        self.at = state["at"]
    def __reduce__(self):
        return Loader, (self.n,)
loader, log = Loader(3), []
for epoch in range(2):
    for x in loader:
        log.append((epoch, x))
log
""",
        row="Loops: over objects with `state_dict` and `load_state_dict`",
    ),
    Program(
        "lines_of_a_file",
        "A file gone through in the header is opened again and its finished lines are read over.",
        """
from pathlib import Path
Path("in.txt").write_text("a,1\\nb,2\\nc,3\\n")
log = []
for line in open("in.txt"):
    for word in line.strip().split(","):
        log.append(word)
log
""",
        row="Loops: over the lines of a file",
    ),
    Program(
        "csv_rows",
        "csv.reader in a `with` gives the rows that are left.",
        """
import csv
from pathlib import Path
Path("t.csv").write_text("h1,h2\\n1,2\\n3,4\\n5,6\\n")
rows = []
with open("t.csv", newline="") as f:
    for row in csv.reader(f):
        for cell in row:
            rows.append((row[0], cell))
rows
""",
        unsaved=frozenset({"f"}),
        row="Loops: over the lines of a file",
    ),
    Program(
        "itertools_headers",
        "chain, product, islice, count and cycle go on with what is left.",
        """
from itertools import chain, count, cycle, islice, product
log = []
for x in chain([1, 2], "ab"):
    for y in product([0, 1], repeat=2):
        log.append((x, y))
for x in islice(count(5), 3):
    log.append(x)
    for y in islice(cycle("pq"), 3):
        log.append(y)
for k, x in enumerate(cycle([1, 2, 3])):
    if k == 4:
        break
    log.append(x)
log
""",
        row="Loops: over enumerate, zip, map, filter, reversed, itertools",
    ),
    Program(
        "tqdm_bars",
        "Bars are looked through: what they show gets the cursor.",
        """
from tqdm import tqdm, trange
log = []
for x in tqdm([[1], [2], [3]], desc="outer"):
    x.append(0)
    for j in trange(2, leave=False):
        log.append((x[0], j))
for x in tqdm(k * k for k in range(3)):
    log.append(x)
for i, x in enumerate(tqdm("abc")):
    log.append((i, x))
log
""",
        loose=frozenset({"stderr"}),
        row="tqdm and rich: progress bars",
    ),
    Program(
        "tqdm_bar_with_a_name",
        "A bar made before the loop is the same object afterwards and stands at the end.",
        """
from tqdm import tqdm
log = []
bar = tqdm(range(4), desc="train")
for k in bar:
    bar.set_postfix(loss=k)
    log.append(k)
print(bar.n)
other = tqdm(range(3))
for k in other:
    for j in range(2):
        other.set_description(f"at {k}")
        log.append((k, j))
other.n
""",
        loose=frozenset({"stderr"}),
        row="tqdm and rich: progress bars",
    ),
    Program(
        "rich_track",
        "rich's track is looked through.",
        """
from rich.progress import track
log = []
for k in track(range(4), description="work"):
    for j in range(2):
        log.append((k, j))
log
""",
        loose=frozenset({"stdout", "random"}),
        row="tqdm and rich: progress bars",
    ),
    Program(
        "iterator_of_a_list_that_is_a_variable",
        "The list that is gone through, its name and the iterator stay one list.",
        """
xs = [[1], [2], [3]]
alias = {"xs": xs}
for x in xs:
    for j in range(2):
        alias["xs"][-1].append(j)
    xs.append(x) if len(xs) < 5 else None
alias["xs"] is xs, xs[0] is xs[3]
""",
    ),
    Program(
        "nested_data_as_items",
        "Items without a name of their own (sorted, list of a dict, slices) come back.",
        """
d = {"b": 2, "a": 1, "c": 3}
log = []
for key in sorted(d):
    for pair in list(d.items())[::2]:
        log.append((key, pair))
    d[key + key] = 0
    if len(d) > 5:
        break
log, d
""",
    ),
    Program(
        "iterators_made_of_generators",
        "enumerate, zip and chain over what cannot be saved are replayed as a whole.",
        """
from itertools import chain
from pathlib import Path
Path("in.txt").write_text("a\\nb\\nc\\n")
def numbers(n):
    for k in range(n):
        yield k * k
log = []
for i, line in enumerate(open("in.txt")):
    for x, y in zip(numbers(2), "pq"):
        log.append((i, line, x, y))
for x in chain(numbers(2), [7], (k for k in "z")):
    log.append(x)
log
""",
    ),
    Program(
        "other_containers",
        "Whatever else can be gone through: deque, OrderedDict, ChainMap, array, memoryview, UserList, matches.",
        """
import re
from array import array
from collections import ChainMap, OrderedDict, UserList, deque
from types import MappingProxyType
log, d = [], OrderedDict(b=1, a=2)
for x in deque([1, 2]):
    for key, value in d.items():
        log.append((x, key, value))
for x in UserList("ab"):
    for y in array("i", [4, 5]):
        log.append((x, y))
for found in re.finditer("[a-z]", "a1b"):
    log.append(found.group())
for x in memoryview(b"xy"):
    for y in memoryview(b"pq"):
        log.append((x, y))
for x in ChainMap({"x": 1}, {"y": 2}):
    for y in MappingProxyType({"p": 1}):
        log.append((x, y))
log
""",
        unsaved=frozenset({"found"}),
        at_least=20,
    ),
    Program(
        "deques_from_their_end",
        "So far as they were gone through, by the loop and beside it.",
        """
from collections import deque
log, back = [], reversed(deque("abcd"))
for x in back:
    for y in reversed(deque([6, 7])):
        log.append((x, y))
    log.append(next(back))
log
""",
    ),
    Program(
        "iterators_that_call",
        "iter(callable, sentinel) goes on with what the callable has left.",
        """
import io
stack = [0, 3, 2, 1]
log = []
for x in iter(stack.pop, 0):
    for j in range(x):
        log.append((x, j, len(stack)))
text = io.StringIO("one\\ntwo\\nthree\\n")
for line in text:
    log.append(line)
    for c in line.strip()[:2]:
        log.append(c)
text.read(), stack
""",
    ),
    Program(
        "numpy_iterators",
        "ndenumerate, ndindex and nditer go on where they were.",
        """
import numpy as np
a, log = np.arange(4).reshape(2, 2), []
for index, x in np.ndenumerate(a):
    for y in range(2):
        log.append((index, int(x), y))
for index in np.ndindex(2, 2):
    log.append(index)
for x in np.nditer(a):
    log.append(int(x))
del x
log
""",
        row="NumPy: nditer, ndenumerate, ndindex",
    ),
    Program(
        "queue_of_work",
        "Items are taken from both ends, put back and requeued while the loops go.",
        """
from collections import deque
import ledger
todo = deque([("a", 2), ("b", 1)])
done = []
while todo:
    name, left = task = todo.popleft()
    ledger.note(task)
    for step in range(left):
        done.append((name, step))
        if name == "a" and step == 1:
            todo.append(("c", 1))
    if left > 1:
        todo.append((name, left - 1))
        last = task
done, last is task
""",
    ),
]
