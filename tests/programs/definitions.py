"""What running code changes inside of classes: methods, descriptors, inner classes, members of enums."""

from __future__ import annotations

from .harness import Program

PROGRAMS = [
    Program(
        "what_methods_carry",
        "Methods keep what their defaults, their attributes and their decorators have collected.",
        """
out = []
for k in range(3):
    out.append((a.add(k), a.step(), a.twice(k % 2), a.size, A.put(k), A.of(k), a.plain()))
out
""",
        before=(
            """
import functools
def counted(f):
    @functools.wraps(f)
    def wrapper(*given):
        wrapper.calls += 1
        return f(*given), wrapper.calls
    wrapper.calls = 0
    return wrapper
def memo(f):
    known, n = {}, 0
    def wrapper(self, x):
        nonlocal n
        n += 1
        return known.setdefault(x, (f(self, x), n)), n
    return wrapper
class Base:
    def add(self, x, seen=set()):
        seen.add(x)
        return len(seen)
class A(Base):
    def add(self, x, got=[]):
        got.append(x)
        return len(got), super().add(x // 2)
    @counted
    def step(self): pass
    @memo
    def twice(self, x): return 2 * x
    @property
    @counted
    def size(self): return 1
    @staticmethod
    def put(x, got=[]):
        got.append(x)
        return len(got)
    @classmethod
    def of(cls, x, *, got={}):
        got[x] = cls
        return len(got)
    def plain(self):
        A.plain.calls += 1
        return A.plain.calls
    plain.calls = 0
a = A()
""",
        ),
        row="Classes and functions: defaults, attributes and decorators of methods that collect something",
    ),
    Program(
        "what_methods_carry_in_the_cell",
        "It is so, too, where the cell defines the class, which is made again on the way back.",
        """
class A:
    def add(self, x, got=[]):
        got.append(x)
        return len(got)
a, out = A(), []
for k in range(3):
    out.append(a.add(k))
out
""",
    ),
    Program(
        "a_mark_for_nothing_given",
        "What methods and records have as a default is the very object that a variable holds.",
        """
out = []
for k in range(3):
    out.append((held.get("a"), held.get("b", k), Row(k).more is MISSING, Row(k, 1).more is MISSING))
out
""",
        before=(
            """
import dataclasses
MISSING = object()
class Held:
    def __init__(self):
        self.items = {}
    def get(self, key, default=MISSING):
        return self.items.get(key, "none") if default is MISSING else default
@dataclasses.dataclass
class Row:
    x: int
    more: object = MISSING
held = Held()
""",
        ),
    ),
    Program(
        "records_that_are_numbered",
        "The numbers that a record's factory gives out go on.",
        """
out = []
for k in range(3):
    out.append((Item(str(k)).number, next(Item.others)))
out
""",
        before=(
            """
import dataclasses, itertools, typing
@dataclasses.dataclass
class Item:
    name: str
    number: int = dataclasses.field(default_factory=itertools.count().__next__)
    others: typing.ClassVar = itertools.count(5)
""",
        ),
    ),
    Program(
        "what_descriptors_keep",
        "Values that a descriptor keeps for its objects, and what one counts, are data; its methods are not.",
        """
m = Model()
out = []
for k in range(3):
    m.rate += k
    m.age = k
    out.append((m.rate, m.age, vars(Model)["age"].writes, m.step(k), Field.made))
out
""",
        before=(
            """
import functools
from weakref import WeakKeyDictionary
class Field:
    made = 0
    def __init__(self, default):
        self.default, self.data = default, WeakKeyDictionary()
        Field.made += 1
    def __get__(self, owner, kind):
        return self.data.get(owner, self.default)
    def __set__(self, owner, value):
        self.data[owner] = value
        Field.made += 1
class Typed:
    def __set_name__(self, owner, name):
        self.name, self.writes = "_" + name, 0
    def __get__(self, owner, kind):
        return getattr(owner, self.name)
    def __set__(self, owner, value):
        self.writes += 1
        setattr(owner, self.name, value)
class counted:
    __slots__ = ("f", "calls")
    def __init__(self, f):
        self.f, self.calls = f, 0
    def __get__(self, owner, kind):
        return functools.partial(self, owner)
    def __call__(self, *given):
        self.calls += 1
        return self.f(*given), self.calls
class Model:
    rate, age = Field(1), Typed()
    @counted
    def step(self, x, got=[]):
        got.append(x)
        return list(got)
""",
        ),
        row="Classes and functions: descriptors that keep values",
    ),
    Program(
        "classes_in_classes",
        "What an inner class counts goes on.",
        """
out = []
for k in range(3):
    Outer.Inner.count += 1
    Outer.Inner.items.append(k)
    out.append((Outer.Inner.count, len(Outer.Inner.items), one.add(k)))
out
""",
        before=(
            """
class Outer:
    class Inner:
        count, items = 0, []
        def add(self, x, got=[]):
            got.append(x)
            return len(got)
one = Outer.Inner()
""",
        ),
    ),
    Program(
        "members_of_enums",
        "Members keep their attributes, and are themselves, whatever their values are.",
        """
out = []
for k in range(3):
    Act.LIST.value.append(k)
    Act.SPEC.uses += 1
    spec.n += 1
    out.append((Act.DOUBLE.value(k), Act.CALLED.value(k)))
    out.append(([one is Act[one.name] for one in held], Act.SPEC.value.n, Act(spec).uses))
    out.append((Act([1, *range(k + 1)]) is held[-1], earth.gravity(k), Planet((5.9, 6.3)) is earth, len(earth.seen)))
    earth.seen.append(k)
    out.append(Planet.count)
    Planet.count += 1
    out.append((Color["BOTH"] is both, [*Color.__members__], Color.RED | Color.BLUE is both, Planet["HOME"] is earth))
out
""",
        before=(
            """
import enum, functools
def double(x): return 2 * x
class Spec:
    def __init__(self, n):
        self.n = n
spec = Spec(3)
class Act(enum.Enum):
    DOUBLE = getattr(enum, "member", functools.partial)(functools.partial(double))
    CALLED = getattr(enum, "member", functools.partial)(double)
    SPEC = spec
    NAN = float("nan")
    LIST = [1]
    def __init__(self, *_):
        self.uses = 0
    def __repr__(self):
        return self.name
class Color(enum.IntFlag):
    RED, BLUE, BOTH, ROT = 1, 2, 3, 1
both = Color.BOTH
class Planet(enum.Enum):
    EARTH = HOME = (5.9, 6.3)
    def __init__(self, mass, radius):
        self.mass, self.radius, self.seen = mass, radius, []
    def gravity(self, k):
        return self.mass / self.radius + k
Planet.count = 0
earth, held = Planet.EARTH, list(Act)
""",
        ),
        row="Classes and functions: enums whose members have values or attributes of any kind",
    ),
    Program(
        "members_that_hold_functions",
        "What a member got from a function of the notebook is that function again.",
        "out = []\nfor k in range(3):\n    out.append([way.work(k) for way in ways])\nout",
        before=(
            """
import enum
def double(x): return 2 * x
class Way(enum.Enum):
    DOUBLE, TEXT = (1, double), (2, str)
    def __init__(self, number, work):
        self.work = work
    def __repr__(self):
        return self.name
ways = [Way.DOUBLE, Way.TEXT]
""",
        ),
    ),
    Program(
        "members_that_are_made_another_way",
        "An enum whose members are made by a `__new__` of their own is made again by the cell that defines it.",
        """
out = []
for k in range(3):
    Coord.Y.uses.append(k)
    out.append((Coord.Y.label, Coord.Y.value, bytes(Coord.Y), len(held.uses)))
out
""",
        before=(
            """
import enum
class Coord(bytes, enum.Enum):
    def __new__(cls, value, label):
        made = bytes.__new__(cls, [value])
        made._value_, made.label, made.uses = value, label, []
        return made
    X = (0, "x")
    Y = (1, "y")
    def __repr__(self):
        return self.name
Coord.count = 0
held = Coord.Y
""",
        ),
        needs_before=True,
    ),
    Program(
        "a_class_that_cannot_be_copied",
        "A class that holds a lock is made again by its own cell, and what it has counted goes on.",
        """
out = []
for k in range(3):
    with Model.lock:
        Model.count += 1
        Model.seen.append(k)
    out.append((model.count, len(seen), guarded()))
out
""",
        before=(
            """
import threading
seen = []
class Model:
    lock, count, seen = threading.Lock(), 0, seen
model = Model()
def guarded(got=[], lock=threading.Lock()):
    with lock:
        got.append(1)
        return len(got)
""",
        ),
        needs_before=True,
        unsaved=frozenset({"Model", "model", "guarded"}),
    ),
    Program(
        "classes_derived_from_the_standard_librarys",
        "They come back though their makers want other arguments, with the attributes that they have added.",
        """
out = []
for k in range(3):
    dice.rolls.append(dice.randint(1, dice.sides))
    raw.append(k)
    space.more += k
    price.seen.append(price.unit)
    out.append((moment.label, str(moment), price.seen, share + k, share.of, dice.rolls, space.first, space.more))
    out.append((bytes(raw), raw.name, whole(-k), whole.name, list(cells), cells.name, span.days, span.why))
out, held["price"] is price, [type(one).__name__ for one in held.values()]
""",
        before=(
            """
import array, datetime, decimal, fractions, functools, random, types
class Moment(datetime.datetime):
    def __new__(cls, label, *given):
        made = super().__new__(cls, *given)
        made.label = label
        return made
class Span(datetime.timedelta):
    __slots__ = ("why",)
class Price(decimal.Decimal):
    def __new__(cls, value, unit):
        made = super().__new__(cls, value)
        made.unit, made.seen = unit, []
        return made
class Share(fractions.Fraction):
    def __new__(cls, a, b, of):
        made = super().__new__(cls, a, b)
        made.of = of
        return made
class Dice(random.Random):
    def __init__(self, sides, seed):
        super().__init__(seed)
        self.sides, self.rolls = sides, []
class Space(types.SimpleNamespace):
    def __init__(self, first, **more):
        super().__init__(first=first, **more)
class Raw(bytearray):
    def __init__(self, name):
        super().__init__(b"abc")
        self.name = name
class Cells(array.array):
    def __new__(cls, name):
        made = super().__new__(cls, "d", [1.0])
        made.name = name
        return made
class Whole(functools.partial):
    def __new__(cls, function, name):
        made = super().__new__(cls, function)
        made.name = name
        return made
moment, span, price, share = Moment("x", 2020, 1, 2), Span(3), Price("1.5", "eur"), Share(1, 3, "pie")
dice, space, raw, cells, whole = Dice(6, 1), Space(1, more=2), Raw("r"), Cells("c"), Whole(abs, "w")
span.why = "so"
held = {"moment": moment, "price": price, "share": share, "span": span}
""",
        ),
        row="Classes and functions: classes derived from the standard library's",
    ),
    Program(
        "what_methods_need_to_put_an_object_together",
        "Modules and functions of earlier cells are there while objects are built; no `__setattr__` is called.",
        """
out = []
for k in range(3):
    worker.add(k)
    point = Point(point.x + 1, [k])
    out.append((worker.total, worker.name, worker.lock.locked(), point.x, point.y))
out
""",
        before=(
            """
import threading
def named(n):
    return f"worker {n}"
class Worker:
    def __init__(self):
        self.total, self.lock, self.name = 0, threading.Lock(), named(1)
    def add(self, k):
        with self.lock:
            self.total += k
    def __getstate__(self):
        return self.total
    def __setstate__(self, total):
        self.total, self.lock, self.name = total, threading.Lock(), named(1)
class Point:
    __slots__ = ("x", "y")
    def __init__(self, x, y):
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)
    def __setattr__(self, name, value):
        raise AttributeError(f"{name} does not change")
worker, point = Worker(), Point(1, [])
""",
        ),
    ),
    Program(
        "what_implementations_carry",
        "Functions that are chosen by the class of their argument keep what they have collected, each for itself.",
        """
out = []
for k in range(3):
    out.append((kind(k), kind("s"), a.kind(k), a.kind("s"), a.on()))
out
""",
        before=(
            """
import functools
@functools.singledispatch
def kind(x, got=[]):
    got.append(x)
    return "other", len(got)
@kind.register
def _(x: int, got=[]):
    got.append(x)
    return "int", len(got)
class A:
    def put(self, x, got=[]):
        got.append(x)
        return len(got)
    on = functools.partialmethod(put, True)
    @functools.singledispatchmethod
    def kind(self, x, got=[]):
        got.append(x)
        return "other", len(got)
    @kind.register
    def _(self, x: int, got=[]):
        got.append(x)
        return "int", len(got)
a = A()
""",
        ),
        needs_before=True,
        unsaved=frozenset({"kind"}),  # what it has looked up by then is its own affair
    ),
]
