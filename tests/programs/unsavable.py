"""Things that cannot be saved, in cells that need not care: dead between iterations, or coming back another way."""

from .harness import Program

PROGRAMS = [
    Program(
        "responses_in_a_try",
        "What a request returned cannot be pickled, and each turn asks anew.",
        """
import io
class Response:
    def __init__(self, k):
        self.body = (c for c in str(k))
        self.ok = k % 3
def get(k):
    if k == 4:
        raise OSError("gone")
    return Response(k)
rows, failed = [], []
for k in range(6):
    try:
        resp = get(k)
        if not (status := resp.ok):
            continue
        lines = list(resp for resp in resp.body)
        rows.append((status, lines))
    except OSError as error:
        failed.append(str(error))
    finally:
        rows.append(k)
    for j in range(2):
        rows.append(j)
rows, failed
""",
        unsaved=frozenset({"resp"}),
    ),
    Program(
        "while_there_is_more",
        "A generator that the test of the loop binds anew, and a match in its body.",
        """
def chunks(k):
    return (k for _ in range(2)) if k < 4 else None
k, seen = 0, []
while chunk := chunks(k):
    match [k, chunk]:
        case [0, first]:
            seen.append(("zero", list(first)))
        case [n, rest] if (later := rest):
            seen.append((n, sum(later)))
    k += 1
chunk = first = rest = later = None
seen
""",
    ),
    Program(
        "queues_and_references",
        "A priority queue and weak references come back as they were, the locks new.",
        """
import queue, weakref
class Node:
    def __init__(self, name):
        self.name = name
todo, nodes = queue.PriorityQueue(), [Node(k) for k in range(4)]
by_name = weakref.WeakValueDictionary((node.name, node) for node in nodes)
first = weakref.ref(nodes[0])
for k in range(4):
    todo.put((-k, k))
    todo.put((k, k))
    for j in range(2):
        by_name[k].name += j
order = []
while not todo.empty():
    order.append(todo.get()[1])
first = first() is nodes[0]
by_name = [by_name[k] is nodes[k] for k in range(4)]
todo = todo.qsize()
order, first, by_name
""",
    ),
    Program(
        "wrappers_and_guarded_containers",
        "Classes that pickle saves and cannot load: attributes looked up elsewhere, items counted, arguments wanted.",
        """
class Env:
    def __init__(self):
        self.steps = 0
    def step(self):
        self.steps += 1
class Wrapper:
    def __init__(self, env):
        self.env, self.calls = env, []
    def __getattr__(self, name):
        return getattr(self.env, name)
class Bounded(list):
    def __init__(self, size):
        super().__init__()
        self.size = size
    def append(self, item):
        if len(self) == self.size:
            del self[0]
        super().append(item)
    extend = None
class Counted(dict):
    def __init__(self):
        super().__init__()
        self.writes = 0
    def __setitem__(self, key, value):
        self.writes += 1
        super().__setitem__(key, value)
class Weight(float):
    def __new__(cls, value, unit):
        made = super().__new__(cls, value)
        made.unit = unit
        return made
class Failed(Exception):
    def __init__(self, code, *, where):
        super().__init__(f"{code} at {where}")
        self.code, self.where = code, where
env = Wrapper(Wrapper(Env()))
last, counts, weights, errors = Bounded(3), Counted(), [Weight(1.5, "kg")], []
for k in range(5):
    env.step()
    last.append(k)
    counts[k % 2] = k
    weights.append(Weight(weights[-1] + k, "g"))
    try:
        try:
            1 / 0
        except ZeroDivisionError as zero:
            raise Failed(k, where="here") from zero
    except Failed as error:
        errors.append(error.with_traceback(None))
    for j in range(2):
        counts["j"] = j
causes = [type(error.__cause__).__name__ for error in errors]
errors = [(error.args, error.code, error.where) for error in errors]
env.steps, last, counts.writes, [weight.unit for weight in weights], errors, causes
""",
    ),
    Program(
        "a_file_mapped_to_be_read",
        "A memory map of a file is a memory map of it afterwards, and so are its parts.",
        """
import numpy as np
table = np.memmap("table.bin", dtype="f4", mode="r", shape=(6, 4))
rows, total = table[2:], 0.0
for k in range(4):
    total += float(rows[k].sum())
    for j in range(2):
        total += float(table[j, k])
kinds = type(table).__name__, type(rows).__name__, table.mode, np.shares_memory(table, rows), table.flags.writeable
total, kinds
""",
        before=('import numpy as np\nnp.arange(24, dtype="f4").tofile("table.bin")\n',),
    ),
    Program(
        "functions_with_a_cache",
        "A function with a cache that an earlier cell defined comes back with it, and sees the notebook's names.",
        """
seen = []
for k in range(4):
    seen.append(slow(k % 2))
    source["n"] += 1
    for j in range(2):
        seen.append(describe(j))
seen, source
""",
        before=(
            """
import functools
source = {"n": 1}
table = {0: "a", 1: "b"}
@functools.lru_cache(maxsize=None)
def slow(k):
    return table[k]
@functools.singledispatch
def describe(x):
    return "other"
@describe.register(int)
def _describe(x):
    return f"int {source['n']}"
""",
        ),
        unsaved=frozenset({"slow", "describe", "_describe"}),
    ),
]
