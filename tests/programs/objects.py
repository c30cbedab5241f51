"""Objects: who shares what, classes, functions."""

from .harness import Program

PROGRAMS = [
    Program(
        "aliases",
        "Two names of one object are two names of one object.",
        """
a = [1]
b = a
c = {"a": a, "self": None}
c["self"] = c
pair = (a, c)
ring = [pair]
ring.append(ring)
for k in range(3):
    b.append(k)
    for j in range(2):
        c["a"].append(j)
a is b, c["self"] is c, pair[0] is a
""",
        row="Variables: several names of one object, and cycles",
    ),
    Program(
        "aliases_with_earlier_cells",
        "What an earlier cell made and the cell only reaches through another name is shared as before.",
        """
for k in range(3):
    trainer.step(k)
    for j in range(2):
        trainer.model["w"] += j
model["w"]
""",
        before=(
            """
class Trainer:
    def __init__(self, model):
        self.model, self.log = model, []
    def step(self, k):
        self.model["w"] += k
        self.log.append(k)
""",
            "model = {'w': 0}\ntrainer = Trainer(model)\nunrelated = [1]\n",
        ),
        needs_before=True,
        row="Variables: objects that a name of an earlier cell shares",
    ),
    Program(
        "optimizer_param_groups",
        "An optimizer's groups hold the model's own parameters.",
        """
import numpy as np
class Parameter:
    __slots__ = ("value", "grad")
    def __init__(self, value):
        self.value, self.grad = value, None
class Optimizer:
    def __init__(self, params):
        self.param_groups = [{"params": list(params), "lr": 0.5}]
        self.state = {}
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                self.state.setdefault(id(p), 0)
                p.value -= group["lr"] * p.grad
model = {"w": Parameter(np.ones(3)), "b": Parameter(np.zeros(1))}
opt = Optimizer(model.values())
opt.step_count = 0
for epoch in range(2):
    for name in model:
        for p in model.values():
            p.grad = np.ones_like(p.value) * (epoch + 1)
        opt.state.clear()
        opt.step()
        opt.state.clear()
    opt.param_groups[0]["lr"] /= 2
opt.param_groups[0]["params"][0] is model["w"]
""",
    ),
    Program(
        "classes_of_the_cell",
        "Objects of classes that the cell defines are of those classes after resume.",
        """
import enum
from collections import namedtuple
from dataclasses import dataclass, field

class Base:
    made = 0
    def __init__(self):
        type(self).made += 1
        Base.registry.append(type(self).__name__)
    registry = []
    @property
    def double(self):
        return self.n * 2
    @classmethod
    def of(cls, n):
        new = cls()
        new.n = n
        return new
    @staticmethod
    def plus(a, b):
        return a + b

class Derived(Base):
    __slots__ = ("n",)
    def __repr__(self):
        return f"Derived({self.n})"

class Colour(enum.Enum):
    RED = 1
    BLUE = 2

@dataclass
class Point:
    x: int
    tags: list = field(default_factory=list)

Pair = namedtuple("Pair", "left right")
things = []
colour = Colour.RED
for k in range(3):
    thing = Derived.of(k)
    things.append(thing)
    for j in range(2):
        things.append(Pair(Point(j), thing))
        things[-1].left.tags.append(colour)
        colour = Colour.BLUE if colour is Colour.RED else Colour.RED
isinstance(things[0], Base), things[0].double, things[1].left == Point(0, [Colour.RED]), colour is Colour.RED
""",
        row="Classes and functions: classes, dataclasses, named tuples and enums of the notebook",
    ),
    Program(
        "class_counters",
        "What the cell counts on a class of its own goes on.",
        """
class Counter:
    count = 0
    seen = []
    def hit(self, k):
        Counter.count += 1
        self.seen.append(k)
c = Counter()
for k in range(3):
    c.hit(k)
    for j in range(2):
        c.hit((k, j))
Counter.count, len(Counter.seen)
""",
        row="Classes and functions: attributes of a class that change",
    ),
    Program(
        "classes_of_an_earlier_cell",
        "Objects of classes from earlier cells come back as theirs, with or without those cells.",
        """
shapes = []
for k in range(3):
    shapes.append(Square(k))
    for mode in Mode:
        shapes[-1].modes.append(mode)
all(isinstance(s, Shape) for s in shapes), shapes[0].modes[0] is Mode.ON, total_area(shapes)
""",
        before=(
            """
import enum
import abc
class Mode(enum.Enum):
    ON = "on"
    OFF = "off"
class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...
class Square(Shape):
    def __init__(self, side):
        super().__init__()
        self.side, self.modes = side, []
    def area(self):
        return scale * self.side ** 2
scale = 2
def total_area(shapes):
    return sum(shape.area() for shape in shapes)
""",
        ),
        row="Classes and functions: classes, dataclasses, named tuples and enums of the notebook",
    ),
    Program(
        "closures",
        "Closures that share a variable share it after resume.",
        """
def pair():
    n = 0
    def up():
        nonlocal n
        n += 1
        return n
    def get():
        return n
    return up, get
up, get = pair()
scale = 3
twice = lambda x: x * scale
log = []
for k in range(3):
    up()
    for j in range(2):
        log.append((up(), get(), twice(k)))
get(), up.__closure__[0] is get.__closure__[0]
""",
        row="Classes and functions: closures and lambdas",
    ),
    Program(
        "functions",
        "Functions of every kind keep their attributes, and what they and their defaults count.",
        """
import functools
calls, rate = [], 2
def logged(f):
    @functools.wraps(f)
    def wrapper(*args):
        calls.append(args)
        return f(*args)
    wrapper.uses = 0
    return wrapper
@logged
def scaled(x, by=[1]):
    by[0] += 1
    return helper(x) * by[0]
def helper(x):
    return x * rate
def factory():
    def fact(n):
        return 1 if n < 2 else n * fact(n - 1)
    return fact
fact = factory()
half = functools.partial(helper, 0.5)
@functools.lru_cache
def cached(n):
    return n + rate
log = []
for k in range(3):
    scaled.uses += 1
    rate += 1
    for j in range(2):
        log.append((scaled(j), fact(j + 2), half()))
scaled.uses, len(calls), rate
""",
        row="Classes and functions: functions with decorators, defaults, attributes; partials",
    ),
    Program(
        "helpers_of_an_earlier_cell",
        "What a helper reads and binds, and the cell never names, is saved too.",
        """
for k in range(3):
    record(k)
    for j in range(2):
        record((k, j))
summary()
""",
        before=(
            """
history, totals = [], {"n": 0}
serial = 0
def record(x):
    global serial
    serial += 1
    history.append((serial, x))
    note(x)
def note(x):
    totals["n"] += 1
def summary():
    return len(history), totals["n"], serial
""",
        ),
        row="Variables: what helper functions read and bind",
    ),
    Program(
        "function_redefined_in_a_loop",
        "A definition inside a loop runs again on the way back and closes over the right values.",
        """
log = []
for k in range(3):
    def f(x, k=k):
        return x + k
    class Local:
        level = k
    for j in range(2):
        log.append((f(j), Local.level, Local().level))
log
""",
        row="Classes and functions: functions that a loop defines anew",
    ),
    Program(
        "imports",
        "Imports of every form, in the cell and inside loops, are there after resume.",
        """
from __future__ import annotations
import math as m
import os.path
from collections import OrderedDict as OD, deque
from math import *
log = []
for k in range(2):
    import json
    from string import ascii_lowercase as letters
    for j in range(2):
        log.append((m.floor(k + 0.5), letters[j], json.dumps(k), os.path.join("a", "b"), floor(2.5)))
queue, od = deque(log, maxlen=3), OD(a=1)
for item in queue:
    od[item[1]] = item
len(od)
""",
        row="Classes and functions: imports",
    ),
    Program(
        "imports_of_an_earlier_cell",
        "Modules and functions that an earlier cell imported are imported again where it did not run.",
        """
out = []
for k in range(2):
    out.append(np.sqrt(k))
    for j in range(2):
        out.append(stat.mean([j, k]) + reduce(add, [1, 2]))
out
""",
        before=(
            "import numpy as np\nimport statistics as stat\nfrom functools import reduce\nfrom operator import add\n",
        ),
        row="Classes and functions: imports",
    ),
    Program(
        "an_input_left_unchanged",
        "An input that the cell only reads is the same object graph afterwards.",
        """
total = 0
for row in table:
    for x in row:
        total += x
total
""",
        before=("table = [[1, 2], [3, 4]]\nsame = table[0]\n",),
        after=("checked = same is table[0]",),
        row="Variables: inputs that the cell only reads",
    ),
    Program(
        "collections_of_the_standard_library",
        "Collections in one another keep their kind, their order and what they share.",
        """
import heapq
from collections import Counter, defaultdict, deque
groups, words, last = defaultdict(list), Counter(), deque(maxlen=3)
heap = []
for k, word in enumerate("the cat the dog a cat".split()):
    groups[len(word)].append(word)
    words[word] += 1
    last.append(groups[len(word)])
    for letter in word[:2]:
        heapq.heappush(heap, (ord(letter), k))
heapq.heappop(heap), last[-1] is groups[3], words.most_common(1)
""",
        at_least=15,
        row="Variables: lists, dicts, sets, Counter, defaultdict, deque, heaps",
    ),
    Program(
        "deep_structure",
        "A linked list thousands of nodes long is saved, not refused.",
        """
class Node:
    def __init__(self, value, next=None):
        self.value, self.next = value, next
def grown(head, by):
    while by:
        head, by = Node(by, head), by - 1
    return head
def length(node):
    n = 0
    while node is not None:
        n, node = n + 1, node.next
    return n
head = None
for k in range(3):
    head = grown(head, 600)
    for j in range(2):
        head.value += j
    print(k)
deep, chain = length(head), head.value
del head
deep
""",
        row="Variables: deep structures, as linked lists and trees",
    ),
    Program(
        "a_weird_value_per_name",
        "Values that are easily confused come back as themselves.",
        """
none, nan, dots, kind = None, float("nan"), ..., int
same = [nan, nan]
method = same.append
piece = slice(1, 2)
for k in [None, False, 0, ""]:
    for j in [None]:
        method(k)
    kind = type(k)
print(same, dots, kind, piece)
k is None
""",
        row="Variables: None, NaN, Ellipsis, types, bound methods, slices",
    ),
]
