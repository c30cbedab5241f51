"""Cells that once came back wrong."""

from .harness import Program

PROGRAMS = [
    Program(
        "values_put_under_keys_to_come",
        "A loop over a dict's values or items sees what its body puts there, also after a resume.",
        """
import ledger
d, out = {"a": 1, "b": 2, "c": 3, "e": 4}, []
for k, v in d.items():
    ledger.note((k, v))
    out.append((k, v))
    if k == "b":
        d["e"] = 100
for i, v in enumerate(d.values()):
    d["e"] += 1
    out.append((i, v))
for k in reversed(d):
    out.append(k)
out
""",
        at_least=12,
        row="Loops: over dicts, their keys, values and items",
    ),
    Program(
        "functions_of_the_global_generators",
        "Names imported from the random modules stay bound to the global generators.",
        """
import random
from random import randint, shuffle
import numpy as np
from numpy.random import randn
random.seed(3)
np.random.seed(4)
out, order = [], list(range(6))
for k in range(3):
    shuffle(order)
    out.append((randint(0, 1000), random.random(), float(randn()), float(np.random.rand()), tuple(order)))
    if k == 1:
        random.seed(k)
out
""",
        row="Random numbers: the global generators of `random` and `numpy.random`",
    ),
    Program(
        "classes_that_register_themselves",
        "A decorator that needs the cell's own data finds it when its class is met on the way back.",
        """
registry, out = {}, []
def register(c):
    registry[c.__name__] = c
    return c
@register
class A:
    k = 1
for i in range(3):
    out.append((i, sorted(registry), registry["A"] is A))
out
""",
    ),
    Program(
        "functions_defined_again",
        "A function that a loop defines anew each time keeps the defaults of each time.",
        """
made = []
for i in range(3):
    def f(x, i=i):
        return x + i
    made.append(f)
    for j in range(2):
        pass
out = [h(1) for h in made]
del made, f
out
""",
        at_least=8,
        row="Classes and functions: functions that a loop defines anew",
    ),
    Program(
        "a_method_put_in_place_of_another",
        "What running code does to a class stays done.",
        """
class Model:
    rate = 1
    def step(self):
        return self.rate
model, out = Model(), []
Model.step = lambda self: 10 * self.rate
for k in range(3):
    Model.rate += 1
    out.append(model.step())
out
""",
        row="Classes and functions: attributes of a class that change",
    ),
    Program(
        "a_function_with_a_registry",
        "A single-dispatch function, whose code cannot be copied, is made again by its own statement.",
        """
import functools
@functools.singledispatch
def kind(x):
    return "other"
@kind.register(int)
def kind_of_int(x):
    return "int"
out = []
for x in [1, "a", 2]:
    out.append(kind(x))
del kind  # what it has cached by then is its own affair
out
""",
    ),
    Program(
        "a_memoryview",
        "A memoryview still looks at its bytearray.",
        """
data = bytearray(b"abcd")
view = memoryview(data)
for k in range(4):
    view[k] = 65 + k
out = bytes(data)
out
""",
        row="Variables: bytes, bytearrays and memoryviews of them",
    ),
    Program(
        "a_column_taken_before",
        "pandas copies on write, before and after a resume.",
        """
import pandas as pd
df = pd.DataFrame({"a": range(4), "b": list("wxyz")})
column = df["a"]
for i in range(4):
    df.loc[i, "a"] = i * 20
out = column.tolist(), df["a"].tolist()
out
""",
        row="pandas: DataFrame and Series, copied on write",
    ),
    Program(
        "the_working_folder_and_the_environment",
        "Where the cell went and what it put into the environment is there after a resume.",
        """
import os
from pathlib import Path
here = Path.cwd()
(here / "below").mkdir(exist_ok=True)
os.chdir("below")
os.environ["PLACE"] = "below"
out = []
for k in range(3):
    out.append((k, Path.cwd().name, os.environ["PLACE"]))
os.chdir(here)
del os.environ["PLACE"]
out
""",
        row="Surroundings: the working folder and environment variables",
    ),
    Program(
        "a_loader_that_moves_by_itself",
        "Inside a loop over a generator that changes its object nothing is saved, so nothing is resumed wrongly.",
        """
import ledger
class Loader:
    def __init__(self):
        self.given = 0
    def batches(self):
        for k in range(3):
            self.given += 1
            yield self.given
loader, out = Loader(), []
for epoch in range(3):
    for batch in loader.batches():
        out.append(batch)
    out.append("end")
loader.given, out
""",
        unordered=True,
    ),
    Program(
        "columns_added_while_they_are_gone_through",
        "A loop over a table's columns, labels or values does not see what its body adds to them.",
        """
import numpy as np
import pandas as pd
df = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0], "c": list("xy")})
seen = []
for c in df.columns:
    df[c + "_again"] = df[c]
    seen.append(c)
for c in df:
    df = df.rename(columns={c: c.upper()})
for c in df.columns[:2]:
    df = df.drop(columns=c)
for i in df.index:
    df.loc[i + 2] = df.loc[i]
for k, value in df["C"].items():
    df.loc[k, "C"] = value * 2
    df.loc[k + 1, "C"] = "later"
list(df.columns), df.shape, seen
""",
        at_least=20,
        row="pandas: loops over columns and labels that their body adds to",
    ),
    Program(
        "rows_changed_while_they_are_gone_through",
        "A loop over a table's rows or groups goes on with the rows as they were when it began.",
        """
import pandas as pd
from tqdm import tqdm
df = pd.DataFrame({"id": range(4), "v": [1.5, 2.5, 3.5, 4.5], "s": list("wxyz")})
log = []
for i, row in df.iterrows():
    df.at[i, "v"] = row["v"] * 10
    df.at[(i + 1) % 4, "s"] = "changed"
    log.append((i, row["v"], row["s"]))
numbers = df[["id", "v"]]
for i, row in numbers.iterrows():
    numbers.at[(i + 1) % 4, "v"] = -row["v"]
    log.append(row["v"])
for t in df.itertuples():
    df.loc[t.Index, "v"] = 0
    log.append((t.id, t.v, t.s))
for t in tqdm(df.itertuples(index=False, name=None), total=len(df)):
    df.loc[len(df)] = t
for key, group in df.groupby("id"):
    df.loc[df["id"] == key + 1, "v"] = key
    log.append((key, float(group["v"].sum())))
for name, column in df.items():
    df = df.drop(columns=name)
    log.append((name, column.tolist()))
del t, column, row, group
log
""",
        loose=frozenset({"stderr"}),
        at_least=30,
        row="pandas: loops over rows and groups that their body changes",
    ),
    Program(
        "subclasses_that_register_themselves",
        "Classes that their base keeps in a register come back, with or without the cell that defines them.",
        """
pets = []
for k in range(3):
    pets.append(Animal.kinds["Puppy" if k % 2 else "Dog"](f"pet {k}"))
    for pet in pets:
        pet.friends = pets
[pet.speak() for pet in pets], Animal.kinds["Dog"] is Dog, type(pets[1]) is Puppy, Animal.count
""",
        before=(
            """
from abc import ABC, abstractmethod
class Animal(ABC):
    kinds, count = {}, 0
    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        Animal.kinds[cls.__name__] = cls
    def __init__(self, name):
        self.name = name
        Animal.count += 1
    @abstractmethod
    def speak(self): ...
class Dog(Animal):
    def speak(self):
        return f"{self.name} barks"
class Puppy(Dog):
    def speak(self):
        return super().speak().upper()
""",
        ),
        row="Classes and functions: classes, dataclasses, named tuples and enums of the notebook",
    ),
    Program(
        "subclasses_of_the_cell_that_register_themselves",
        "The same where the cell itself defines them.",
        """
from abc import ABC, abstractmethod
class Animal(ABC):
    kinds = {}
    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        Animal.kinds[cls.__name__] = cls
    @abstractmethod
    def speak(self): ...
class Dog(Animal):
    def speak(self):
        return "wuff"
class Puppy(Dog):
    def speak(self):
        return super().speak().upper()
pets = []
for kind in list(Animal.kinds.values()):
    pets.append(kind())
    print(pets[-1].speak())
sorted(Animal.kinds), isinstance(pets[1], Dog), Animal.kinds["Puppy"] is Puppy
""",
    ),
    Program(
        "bars_that_are_enumerated",
        "`enumerate(tqdm(...))` is looked through as `tqdm(enumerate(...))` is.",
        """
import ledger
from tqdm import tqdm
class Names:
    def __init__(self):
        self.names = list("abc")
    def __len__(self):
        return len(self.names)
    def __iter__(self):
        for name in self.names:
            ledger.note(("drawn", name))
            yield name
log = []
bar = tqdm(["x", "y", "z"], desc="named")
for k, x in enumerate(bar, 1):
    bar.set_postfix(k=k)
    for j, y in enumerate(tqdm(range(2), leave=False)):
        log.append((k, x, j, y))
for k, name in enumerate(tqdm(list(Names()))):
    log.append((k, name))
bar.n, log
""",
        loose=frozenset({"stderr"}),
        at_least=15,
        row="tqdm and rich: progress bars",
    ),
    Program(
        "a_dict_that_changes_under_its_loop",
        "Python's complaint about a dict or set that changed while it was gone through comes after a resume, too.",
        """
out = []
for source in [{k: k for k in "abcd"}, {1, 2, 3}]:
    try:
        for item in source:
            for k in range(2):
                out.append((item, k))
            source.pop("d", None) if isinstance(source, dict) else source.add(9)
    except RuntimeError as error:
        out.append(str(error))
held = iter({1: [1], 2: [2]}.items())
out.append(next(held))
for k in range(3):
    out.append(next(held, None))
out
""",
        at_least=8,
    ),
    Program(
        "a_list_that_shrinks_under_its_loop",
        "A list that is shorter than its loop is far ends the loop, or goes on where it is long enough again.",
        """
out, xs, ys = [], [1, 2, 3, 4], [1, 2, 3, 4]
for x in reversed(xs):
    for k in range(2):
        out.append(x)
    del xs[:2]
    for k in range(2):
        out.append(k)
for y in ys:
    if y == 3:
        del ys[:]
        for k in range(2):
            out.append(k)
        ys.extend("abcdef")
    for k in range(2):
        out.append(y)
out
""",
        at_least=8,
    ),
    Program(
        "a_method_held_in_a_variable",
        "It comes back bound to its object, and leaves no name of its own behind.",
        """
for k in range(3):
    step()
node.value
""",
        before=(
            "class Node:\n    value = 0\n    def step(self):\n        self.value += 1\n",
            "node = Node()\nstep = node.step\n",
        ),
    ),
    Program(
        "a_function_defined_twice",
        "The definition in force at the boundary is the one that comes back, whatever the name meant before.",
        """
a, out = 1, []
def scale(x):
    return 2 * x
out.append(scale(1))
def scale(x, more=[a]):
    return 10 * x + more[0]
for k in range(3):
    out.append(scale(k))
def helper(x, extra=a):
    return x + extra
for k in range(3):
    out.append(helper(k))
out
""",
        before=("def helper(x):\n    return -x\n",),
    ),
    Program(
        "arrays_that_own_their_memory",
        "A small array can be resized after a resume, and is what its views name as their base.",
        """
import numpy as np
A, out = np.arange(4.0), []
for k in range(3):
    out.append(A.flags.owndata and A[1:3].base is A and A[:0].base is A)
    A.resize(5 + k)
window = np.lib.stride_tricks.sliding_window_view(A, 3)[1]
for k in range(3):
    A[2] += 1
    out.append(float(window[1]))
out
""",
    ),
    Program(
        "what_a_class_and_a_variable_share",
        "A list of a class of an earlier cell that nothing changed is still the list that a variable holds.",
        """
out = []
for k in range(3):
    out.append(Rows.rows[0])
out[0] is Rows.rows[0], all(row is out[0] for row in out)
""",
        before=("class Rows:\n    rows = [[1], [2]]\n",),
    ),
    Program(
        "partials_around_partials",
        "Nobody looks at a partial's dict on the way: one that has a dict is not merged with the one around it.",
        """
import functools
def scale(x):
    return 2 * x
add = functools.partial(scale)
for k in filter(lambda k: k, [3, 4]):
    add = functools.partial(add)
add.func is scale
""",
    ),
    Program(
        "generator_expressions_over_what_changes",
        "An expression in a loop's header goes on over what it went over when it began, whatever the body did to that.",
        """
a, out, names = 1, [1], {"x": [3]}
for item in (item for item in out[:3]):
    a += item
    out.extend([2])
for number, item in enumerate(item + a for item in (part * 2 for part in out) if item % 3):
    a += 1
    out[-1] = number
    if number < 4:
        out.append(item)
for kept in (held for held in names.values()):
    for one in (part for part in kept):
        kept += [one] * (len(kept) < 5)
    names = {"y": kept}
squares = [square + a for square in (x * x for x in out[:4]) if square]
a, out, squares, kept is names["y"]
""",
        at_least=12,
    ),
    Program(
        "names_that_only_text_mentions",
        "What is read by code in a string, or by a line magic, is saved with the rest.",
        """
from contextlib import suppress
out = []
for k in range(3):
    with suppress(NameError):
        exec("total += bump(1)", globals())
        out.append(eval("len(table) + k"))
    %time other += 2
    out.append(globals()["alone"] + get_ipython().user_ns["last"])
out, total, other
""",
        before=("total, other, table, alone, last, step = 1, 2, [3], 4, 5, 6\ndef bump(k):\n    return k + step\n",),
        loose=frozenset({"stdout"}),
    ),
    Program(
        "definitions_that_print",
        "What a definition or an import shows when it is run again was shown already.",
        """
import sys
def loud(kind):
    try:
        {}[0]
    except KeyError:
        print("made", kind.__name__)
        print("to", "stderr", file=sys.stderr)
    return kind
@loud
def f(x):
    return x + 1
class Base:
    def __init_subclass__(cls):
        print("derived", cls.__name__)
class Derived(Base):
    print("inside")
out = [Derived()]
for k in range(3):
    print(k, f(k))
len(out)
""",
    ),
    Program(
        "definitions_made_of_what_earlier_cells_had",
        "Class bodies, decorators, defaults and bases find what earlier cells had imported, defined and computed.",
        """
class Circle(Shape):
    turn = 2 * math.pi
    sides: "np.ndarray" = np.zeros(sides)
@doubled
def area(r, factor=math.tau, kind=Shape):
    return kind.scale * factor * r
out = []
for k in range(3):
    out.append((area(k), Circle.turn, Circle.scale, len(Circle.sides)))
out
""",
        before=(
            "import math, numpy as np\nsides = 3\n",
            "class Shape:\n    scale = math.e\ndef doubled(f):\n    return lambda *given: 2 * f(*given)\n",
        ),
    ),
    Program(
        "what_was_put_into_a_class_and_can_be_called",
        "A class, a partial, an object, a builtin: what is put into a class is data, unlike what its body defines.",
        """
import functools
class Loss:
    def __call__(self, x):
        return x * 2
class First: pass
class Second: pass
class Task:
    kind, act, loss, best = First, len, None, None
    class Inner: pass
    def low(self): return "low"
    def high(self): return "high"
    first = low
Task.kind, Task.act, Task.best = Second, sum, functools.partial(max, 3)
Task.loss, Task.other, Task.low, Task.plain = Loss(), Task.Inner, Task.high, staticmethod(len)
def make(act):
    def deco(f):
        @functools.wraps(f)
        def wrapped(x):
            return act(f(x))
        return wrapped
    return deco
@make(Loss())
def twice(x): return x
twice.hook = Loss
out = []
for k in range(3):
    out.append((Task.kind is Second, Task.act([k, 1]), Task.loss(k), Task.best(k), Task.other is Task.Inner))
    out.append((Task().low(), Task().first(), Task.plain("ab"), twice(k), twice.hook is Loss))
out
""",
    ),
    Program(
        "what_was_put_into_a_class_before",
        "It is so, too, where an earlier cell did it, and the checkpointed one only changes it to something else.",
        """
out = []
for k in range(3):
    out.append((Task.kind.__name__, Task.act([k, 1]), Task.peer is First))
    Task.kind, Task.act = Second, sum
out
""",
        before=("class First: pass\nclass Second: pass\nclass Task:\n    kind, act = First, max\nTask.peer = First\n",),
    ),
    Program(
        "what_a_metaclass_keeps",
        "An object that its class's class knows as the only one is the only one, also where that cell runs again.",
        """
out = []
for k in range(3):
    out.append(only is Settings())
out
""",
        before=(
            """
class Single(type):
    made = {}
    def __call__(cls):
        if cls not in cls.made:
            cls.made[cls] = super().__call__()
        return cls.made[cls]
class Settings(metaclass=Single): pass
only = Settings()
""",
        ),
    ),
    Program(
        "arrays_of_derived_classes",
        "Their attributes come back, which NumPy's own pickles drop, and views of them stay views.",
        """
import numpy as np
class Unit(np.ndarray):
    def __new__(cls, values, unit=None):
        made = np.asarray(values).view(cls)
        made.unit = unit
        return made
    def __array_finalize__(self, other):
        self.unit = getattr(other, "unit", None)
class Plain(np.ndarray): pass
length, log = Unit([1.0, 2, 3], "m"), []
tail, bare, double = length[1:], np.asarray(length), length * 2
part, low = double[1:], np.asarray(double)[:1]
table = np.arange(6).reshape(2, 3).view(Plain)
table.log, turned = log, table.T
things = np.array([[1], 2], dtype=object).view(Plain)
things.log = log
grid = np.array([[1, 2], [3, 4]]).view(np.matrix)
row = grid[0]
plain = np.zeros(3, dtype=[("a", "i4"), ("b", "f8")])
records = plain.view(np.recarray)
out = []
for k in range(3):
    bare[k] += 1
    double[k] = 9
    low[0] += k
    log.append(k)
    turned[k, 0] = things[0][0]
    grid[0, 0] = k
    records.a[k] = 5
    out.append((length.unit, tail.unit, tail.tolist(), part.unit, part.tolist(), double.tolist(), table.tolist()))
    out.append((things.log is log, row.tolist(), plain["a"].tolist(), records.dtype.type, double.flags.owndata))
    double = double.copy()
out
""",
        row="NumPy: arrays of derived classes with their attributes, matrices, records",
    ),
    Program(
        "masks_that_are_shared",
        "A masked array and who shares its mask or its data go on sharing it; a hard mask stays hard.",
        """
import numpy as np
mask, data = np.zeros(4, bool), np.arange(4.0)
both = np.ma.MaskedArray(data, mask=mask, copy=False)
same, part = both.view(), both[1:3]
hard = np.ma.array([1, 2, 3], mask=[0, 0, 1])
hard.harden_mask()
filled, none = np.ma.array([1.0, 2], mask=[1, 0], fill_value=-9), np.ma.array([1, 2])
out = []
for k in range(4):
    mask[k], data[k], hard[2] = True, k * 5, 7
    out.append((both.count(), same.count(), part.count(), both.data.tolist(), hard.tolist(), hard.hardmask))
    out.append((filled.filled().tolist(), none.mask is np.ma.nomask, both.sharedmask))
out
""",
        row="NumPy: masked arrays, with who shares their masks",
    ),
    Program(
        "how_python_is_set",
        "Where modules are looked for, how deep calls may go, which warnings and messages of loggers are shown.",
        """
import logging, os, sys, warnings
os.makedirs("below", exist_ok=True)
with open("below/found_below.py", "w") as file:
    file.write("value = 5")
sys.path.insert(0, "below")
sys.path.append("beside")
import found_below
sys.setrecursionlimit(sys.getrecursionlimit() + 777)
logging.getLogger("mine").setLevel("ERROR")
logging.getLogger().setLevel("DEBUG")
warnings.simplefilter("error", FutureWarning)
out = []
for k in range(3):
    out.append((found_below.value, sys.path[0], sys.path[-1], logging.getLogger("mine.too").getEffectiveLevel()))
    try:
        warnings.warn("soon", FutureWarning)
    except FutureWarning:
        out.append((sys.getrecursionlimit() > 3000, logging.getLogger().level))
sys.setrecursionlimit(sys.getrecursionlimit() - 777)
logging.getLogger("mine").setLevel(0)
logging.getLogger().setLevel("WARNING")
warnings.filters.pop(0)
out
""",
        before=(
            """
import logging, sys, warnings
sys.modules.pop("found_below", None)
sys.path[:] = [entry for entry in sys.path if entry not in ("below", "beside")]
sys.setrecursionlimit(3000)
logging.getLogger().setLevel("WARNING")
logging.getLogger("mine").setLevel(0)
warnings.filters[:] = [one for one in warnings.filters if one[:3] != ("error", None, FutureWarning)]
""",
        ),
        after=("sys.path.remove('below')\nsys.path.remove('beside')\n",),
        needs_before=True,
        unsaved=frozenset({"file"}),
        row="Surroundings: `sys.path`, the recursion limit, levels of loggers, filters of warnings",
    ),
    Program(
        "answers_of_earlier_cells",
        "What the cell reads of them by IPython's names is saved, and `_` goes on to follow what is shown.",
        """
first, out = _, []
for k in range(3):
    out.append((k, _, _1, _i1))
print(out)
first
""",
        before=("6 * 7\n",),
        after=("answer = _\n",),
        row="IPython: the answers of earlier cells that the cell reads (`_`, `_3`)",
    ),
    Program(
        "numbers_taken_from_a_set",
        "Which element `pop` takes, and in which order all come, depends on what was in the set before.",
        """
neighbours = {n: [(n * 7 + 3) % 200, (n * 13 + 5) % 200] for n in range(200)}
waiting, seen, frozen = {0}, [], []
for k in range(30):
    n = waiting.pop()
    seen.append(n)
    for m in neighbours[n]:
        if m not in seen:
            waiting.add(m)
    frozen.append(frozenset(waiting))
seen, [list(one) for one in frozen]
""",
        every=7,
    ),
    Program(
        "points_in_a_set",
        "Objects of the notebook that hash by their attributes are in the order that they were in.",
        """
todo, out = {Point(n * 64 % 97, n) for n in range(12)}, []
for k in range(8):
    one = todo.pop()
    out.append((one.x, one.y))
    todo.add(Point(one.x + 640, one.y))
[(one.x, one.y) for one in todo], out
""",
        before=("import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass Point:\n    x: int\n    y: int\n",),
    ),
    Program(
        "no_numbers",
        "A float that is not a number equals only itself: it is itself after a resume, and NumPy's is NumPy's.",
        """
import math, numpy as np
nan = float("nan")
held, counts = [1.0, nan, np.nan, math.nan], {nan: 1, np.nan: 2}
objects = np.array([nan, "a", np.nan], dtype=object)
out = []
for k in range(3):
    counts[nan] += 1
    counts[np.nan] = counts.get(np.nan, 0) + 1
    out.append((nan in held, held.count(np.nan), held[3] is math.nan, objects[0] is nan, objects[2] is np.nan))
out, list(counts.values())
""",
    ),
    Program(
        "a_dict_that_is_its_own_attributes",
        "Items and attributes stay the same thing.",
        """
class Config(dict):
    def __init__(self, **items):
        super().__init__(**items)
        self.__dict__ = self
config, out = Config(n=0, rate=1.0), []
for k in range(3):
    config.n += 1
    config["rate"] /= 2
    out.append((config["n"], config.rate))
out
""",
    ),
    Program(
        "attributes_that_others_hold",
        "Objects that share their attributes go on sharing them, and so does who holds `vars` of one.",
        """
class Shared:
    state = {}
    def __init__(self):
        self.__dict__ = Shared.state
class Plain:
    pass
one, other, plain = Shared(), Shared(), Plain()
attributes = vars(plain)
one.n = attributes["n"] = 0
out = []
for k in range(3):
    one.n += 1
    attributes["n"] += 1
    plain.k = k
    out.append((other.n, Shared().n, plain.n, attributes["k"]))
out
""",
    ),
    Program(
        "keys_that_refer_to_where_they_are_keys",
        "A node that hashes by its name is in a set of a node that is in its own.",
        """
class Node:
    def __init__(self, name):
        self.name, self.near, self.weights = name, set(), {}
    def __hash__(self):
        return hash(self.name)
    def __eq__(self, other):
        return self.name == other.name
a, b, c = nodes = [Node(1), Node(2), Node(3)]
for x, y in [(a, b), (b, c), (c, a), (b, a)]:
    x.near.add(y)
    x.weights[y, x.name] = x
[([node.name for node in one.near], a in one.near, [(k.name, n) for k, n in one.weights]) for one in nodes]
""",
    ),
    Program(
        "what_belongs_to_the_process",
        "The namespaces of modules, and what the interpreter goes by, are those of the process.",
        """
import builtins, math, sys
space = {}
exec("total = 0", space)
modules, path, inside, here = sys.modules, sys.path, [vars(math)], [globals()]
out = []
for k in range(3):
    exec("total += len([1, 2])", space)
    out.append((modules is sys.modules, path is sys.path, inside[0] is vars(math), here[0] is globals()))
    out.append((space["total"], space["__builtins__"] is vars(builtins)))
del here, modules, path, space, inside
out
""",
    ),
    Program(
        "containers_with_a_maker_of_their_own",
        "Classes derived from Python's containers come back without their `__init__`, `__setitem__` or `add` called.",
        """
from collections import Counter, OrderedDict, defaultdict, deque
class Recent(OrderedDict):
    def __init__(self, size):
        super().__init__()
        self.size = size
    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        self.move_to_end(key, last=False)
        while len(self) > self.size:
            self.popitem()
class Tree(defaultdict):
    def __init__(self):
        super().__init__(Tree)
class Votes(Counter):
    def __init__(self, title, *votes):
        self.title = title
        super().__init__(*votes)
class Last(deque):
    def __init__(self, size):
        super().__init__(maxlen=size)
        self.seen = 0
    def append(self, item):
        self.seen += 1
        super().append(item)
class Named(set):
    def __init__(self, name):
        self.name = name
    def add(self, item):
        super().add((self.name, item))
class Fixed(frozenset):
    def __new__(cls, first, *rest):
        return super().__new__(cls, (first, *rest))
recent, tree, votes, last, named, fixed = Recent(2), Tree(), Votes("x", "aab"), Last(2), Named("n"), Fixed(1, 2)
for k in range(4):
    recent[k] = k
    tree["a"][k]["b"]
    votes["a"] += 1
    last.append(k)
    named.add(k)
print(list(recent.items()), recent.size, sorted(tree["a"]), votes.title, dict(votes), last.seen, list(last))
len(named), sorted(fixed), type(fixed).__name__
""",
    ),
    Program(
        "classes_with_slots",
        "Objects of an earlier cell's classes are laid out as they were: with slots, and without a dict.",
        """
def refused(thing):
    try:
        thing.other = 1
    except (AttributeError, TypeError) as error:
        return type(error).__name__
    return sorted(vars(thing))
held = [Point(1, 2), Named(3, 4), Open(5, 6), Secret(), Size(7), Frozen(8, (9,)), Weak(), Mixed(), Pair(1, 2)]
held += [Doubled(3), Cell[int](4), Made(), Late(), local(), One(), Shadowed(2)]
Single.x.__set__(held[-1], [5])
out, left = [], []
for k in range(3):
    out.append([refused(thing) for thing in held])
    held[0].x += 1
    held[3].grow()
    held[4].size += 1
    held[9].x += 1
    left.append(weakref.ref(held[6])() is held[6])
    try:
        weakref.ref(held[0])
    except TypeError:
        left.append("no weak references")
    out.append((held[3].told(), held[9].x, Single.x.__get__(held[-1]), len(registry), held[10].item))
out, left, [kind.__slots__ for kind in map(type, held) if "__slots__" in vars(kind)], inspect.getdoc(Late)
""",
        before=(
            "import abc, dataclasses, inspect, typing, weakref\n",
            """
class Point:
    __slots__ = ("x", "y")
    def __init__(self, x, y):
        self.x, self.y = x, y
class Named(Point):
    __slots__ = "name"
class Open(Point):
    pass
class Secret:
    __slots__ = ["__hidden", "_x"]
    def __init__(self):
        self.__hidden = [1]
    def grow(self):
        self.__hidden.append(len(self.__hidden))
    def told(self):
        return list(self.__hidden)
    @property
    def x(self):
        return self._x
class Base(abc.ABC):
    __slots__ = ()
    @abc.abstractmethod
    def area(self): ...
class Size(Base):
    __slots__ = ("_size",)
    def __init__(self, size):
        self._size = size
    @property
    def size(self):
        return self._size
    @size.setter
    def size(self, size):
        self._size = size
    def area(self):
        return self._size ** 2
@dataclasses.dataclass(slots=True, frozen=True)
class Frozen:
    x: int
    more: tuple = dataclasses.field(default=(), repr=False)
class Weak:
    __slots__ = ("__weakref__",)
class Mixed(Weak):
    __slots__ = ("__dict__", "own")
class Pair(typing.NamedTuple):
    a: int
    b: int = 3
class Single:
    __slots__ = ("x", "left")
    def __init__(self, x):
        self.x = x
class Doubled(Single):
    __slots__ = ()
    @property
    def x(self):
        return 2 * Single.x.__get__(self)
    @x.setter
    def x(self, x):
        Single.x.__set__(self, x)
class Shadowed(Single):
    __slots__ = ("x",)
T = typing.TypeVar("T")
class Cell(typing.Generic[T]):
    __slots__ = ("item",)
    def __init__(self, item):
        self.item = item
registry = []
class Slotted(type):
    def __new__(meta, name, bases, namespace):
        namespace["__slots__"] = tuple(namespace["__annotations__"])
        return super().__new__(meta, name, bases, namespace)
    def __init__(cls, name, bases, namespace):
        super().__init__(name, bases, namespace)
        registry.append(name)
class Made(metaclass=Slotted):
    a: int
    b: int
class Late:
    "Its slots are documented."
    __slots__ = {"x": "where it is", "gone": "nowhere"}
def local():
    class Local:
        __slots__ = ("n", "__own")
        def __init__(self):
            self.n, self.__own = 1, []
    return Local()
class One(int):
    __slots__ = ()
""",
        ),
    ),
    Program(
        "files_mapped_to_be_written",
        "What the loop had written into a mapped file after the snapshot is taken back, so nothing is added twice.",
        """
import numpy as np
table = np.memmap("table.dat", dtype="f4", mode="w+", shape=(4, 2))
row, bare, reader = table[1], np.asarray(table)[2:], np.memmap("table.dat", dtype="f4", mode="r", shape=(4, 2))
out = []
for k in range(4):
    table[k] += k
    row += 1
    bare[0] += 2
    out.append((table.tolist(), float(row.sum()), reader.tolist()))
table.flush()
again = np.memmap("table.dat", dtype="f4", mode="r+", shape=(2, 2), offset=16)
for k in range(2):
    again[0, k] *= 3
    out.append(table.tolist())
out, type(row).__name__, table.mode, again.mode, np.shares_memory(row, table), np.shares_memory(bare, table)
""",
        row="NumPy: memory maps of files, read or written",
    ),
    Program(
        "attributes_that_a_library_keeps_in_its_class",
        "Objects that come back, and those made later, are still one in what they know, as accelerate's are.",
        """
import shared_states
one, log = shared_states.Settings(), []
one.log = log
for k in range(3):
    one.n = k
    shared_states.Settings().log.append(k)
    for j in range(1):
        two = shared_states.Settings()
        two.n += 10
log, one.n, two.n, vars(two) is vars(one), vars(one) is shared_states.Settings.known, two.log is log
""",
        before=(
            """
import sys, types
module = types.ModuleType("shared_states")
exec("class Settings:\\n    known = {}\\n    def __init__(self):\\n        self.__dict__ = self.known", vars(module))
sys.modules["shared_states"] = module
del module
""",
        ),
        needs_before=True,
    ),
    Program(
        "a_set_that_is_as_big_again_as_it_was",
        "A loop over a set goes on if what is taken out in an iteration is made good before the next one.",
        """
seen, some, out = set(), {1, 2, 3, 11}, []
for k in some:
    some.remove(k)
    for j in range(2):
        out.append((k, j))
    some.add(k + 4)
    if len(out) > 12:
        break
gone = {5, 6}
for k in gone:
    gone.add(7)
    for j in range(1):
        out.append(k)
""",
        fails="RuntimeError",
    ),
    Program(
        "a_dict_that_is_as_big_again_as_it_was",
        "A loop over a dict goes on if what is taken out in an iteration is made good before the next one.",
        """
d, out = {"a": 1, "b": 2, "c": 3}, []
for k in d:
    d["new"] = 4
    for j in range(2):
        out.append((k, j))
    del d["new"]
for k, v in reversed(d.items()):
    d[k, "new"] = 4
    for j in range(2):
        out.append((k, v, j))
    del d[k, "new"]
for i, v in enumerate(d.values()):
    value = d.pop("b")
    for j in range(2):
        out.append((i, v, j))
    d["b"] = value
    break
gone = {5: 1, 6: 2}
for k in gone:
    gone[7] = 3
    for j in range(2):
        out.append(k)
""",
        at_least=14,
        fails="RuntimeError",
    ),
    Program(
        "a_definition_that_is_another_one_by_now",
        "What an outside name holds of it is what the cell holds, once the cell has redefined it.",
        """
made = []
for k in range(2):
    made.append(functools.partial(bump, k))
def bump(k):
    return k + 1
for k in range(2):
    made.append(bump(k))
""",
        before=(
            """
import functools
def bump(k):
    return k
add = functools.partial(bump, 1)
""",
        ),
        after=("same = [f.func is add.func for f in made[:2]]",),
        needs_before=True,
    ),
]
