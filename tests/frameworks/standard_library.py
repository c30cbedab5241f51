"""What the standard library has to offer for keeping things in."""

from programs.harness import Program

_ROW = "Python: {}"

PROGRAMS = [
    Program(
        "numbers_dates_and_names",
        "Values of the standard library's own types come back as they were.",
        """
import datetime, decimal, fractions, ipaddress, pathlib, string, uuid, zoneinfo
moment = datetime.datetime(2026, 3, 29, 1, 30, tzinfo=zoneinfo.ZoneInfo("UTC"), fold=1)
total, share = decimal.Decimal("0.10"), fractions.Fraction(1, 3)
seen, where = [], pathlib.PurePosixPath("/data")
host, greeting = ipaddress.ip_address("10.0.0.254"), string.Template("$who at $when")
for step in range(4):
    total += decimal.Decimal("0.20")
    share /= step + 2
    moment += datetime.timedelta(hours=step, microseconds=1)
    where /= str(step)
    host += 1
    seen.append((moment, total, share, where, host, uuid.uuid5(uuid.NAMESPACE_DNS, str(step))))
print(greeting.substitute(who=host, when=moment.isoformat()), moment.tzinfo is zoneinfo.ZoneInfo("UTC"))
seen[-1]
""",
        row=_ROW.format("numbers, dates, paths, addresses"),
    ),
    Program(
        "containers",
        "Every container of `collections` keeps its kind, its order, its bounds and what it shares.",
        """
import array, collections, types
Point = collections.namedtuple("Point", "x y", defaults=[0])
ring, counted = collections.deque(maxlen=3), collections.Counter()
ordered, grouped = collections.OrderedDict(), collections.defaultdict(list)
layered = collections.ChainMap({}, grouped)
numbers, notes, view = array.array("d"), types.SimpleNamespace(all=ring), types.MappingProxyType({"a": 1})
row = [0]
for k in range(5):
    row[0] += k
    ring.append(row)
    counted.update({"ab"[k % 2]: k})
    ordered[k] = Point(k)
    ordered.move_to_end(k // 2)
    grouped[k % 2].append(row)
    layered[k] = Point(k, k)
    numbers.append(k / 3)
    notes.last = Point(x=k)
words = collections.UserDict(grouped), collections.UserList(ring), collections.UserString("text")
ring.maxlen, ring[0] is row, grouped.default_factory, layered.maps[1] is grouped, list(ordered), view["a"]
""",
        row=_ROW.format("collections, arrays, named tuples, dataclasses, enums"),
    ),
    Program(
        "records_and_flags",
        "Dataclasses with slots and enums that the cell defines are themselves again.",
        """
import dataclasses, enum, functools
class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"
class Right(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()
@dataclasses.dataclass(slots=True)
class Slot:
    name: str
    items: list = dataclasses.field(default_factory=list)
@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Frozen:
    key: int
    colour: Colour = dataclasses.field(compare=False, default=Colour.RED)
class Circle:
    made = 0
    def __init__(self, radius):
        self.radius = radius
    @functools.cached_property
    def area(self):
        Circle.made += 1
        return 3 * self.radius ** 2
slot, rights, kept, circles = Slot("a"), Right(0), [], [Circle(r) for r in range(4)]
for k in range(4):
    rights |= Right.READ if k % 2 else Right.WRITE
    slot.items.append(Frozen(k, Colour.BLUE))
    kept.append((slot, list(Colour)[k % 2], circles[k % 2].area))
print(rights, kept[0][1] is Colour.RED, Circle.made)
sorted(slot.items)[0].colour is Colour.BLUE, {rights: 1}[Right.READ | Right.WRITE]
""",
        row=_ROW.format("collections, arrays, named tuples, dataclasses, enums"),
    ),
    Program(
        "caches",
        "What a function has cached is not computed again, and its statistics go on.",
        """
import functools, ledger, random
random.seed(5)
@functools.lru_cache(maxsize=3)
def drawn(key, *, scale=1):
    ledger.note((key, scale))
    return random.random() * scale
@functools.cache
def whole(key):
    ledger.note(key)
    return [key]
@functools.lru_cache(maxsize=None, typed=True)
def typed(x):
    if x == 2:
        raise ValueError(x)
    return type(x).__name__
class Model:
    @functools.lru_cache
    def predict(self, x):
        ledger.note(("predict", x))
        return [x, random.random()]
model, out = Model(), []
for k in range(6):
    out.append((drawn(k % 4), drawn(0, scale=2), drawn(1), whole(k // 2), model.predict(k % 2)))
    try:
        out.append((typed(k % 3), typed(float(k % 3))))
    except ValueError as error:
        out.append(str(error))
print(drawn.cache_info(), whole.cache_info(), typed.cache_info(), typed.cache_parameters())
print(Model.predict.cache_info(), whole(0) is out[0][3], model.predict(0) is out[0][4])
""",
        row=_ROW.format("lru_cache and cache, with their contents"),
    ),
    Program(
        "weak_references",
        "A weak reference refers to the restored object and does not keep it alive.",
        """
import weakref
class Node:
    def __init__(self, name):
        self.name = name
nodes = [Node(k) for k in range(4)]
first, gone = weakref.ref(nodes[0]), weakref.ref(Node("gone"))
by_name = weakref.WeakValueDictionary({node.name: node for node in nodes})
marks = weakref.WeakKeyDictionary({node: [node.name] for node in nodes})
alive, out = weakref.WeakSet(nodes), []
for k in range(4):
    out.append((len(by_name), len(marks), len(alive), first() is nodes[0] if nodes else first(), gone()))
    marks[nodes[-1]].append(by_name[nodes[-1].name].name)
    nodes.pop()
out, first(), list(by_name), list(marks.values()), len(alive)
""",
        row=_ROW.format("weak references, WeakValueDictionary, WeakKeyDictionary, WeakSet"),
    ),
    Program(
        "iterators_and_buffers",
        "Iterators, patterns, files in memory and C arrays go on where they were.",
        """
import ctypes, io, itertools, operator, re
counter, turns = itertools.count(5, 2), itertools.cycle("abc")
rest = itertools.chain([1, 2], itertools.islice(itertools.count(), 9))
sums = itertools.accumulate(range(20), operator.mul)
raw, text = io.BytesIO(b"0123456789"), io.StringIO("one two three")
pattern, cells = re.compile(r"(\\w)\\w*", re.I), (ctypes.c_int * 4)(1, 2)
out = []
for k in range(4):
    out.append((next(counter), next(turns), next(rest), next(sums), raw.read(2), text.read(3)))
    raw.write(b"x")
    cells[k] += pattern.match(out[-1][-1]) is not None
raw.tell(), raw.getvalue(), text.tell(), list(cells), pattern.pattern
""",
        row=_ROW.format("itertools, files in memory, patterns, ctypes arrays"),
    ),
]
