"""What generated cells are made of: each feature is some data, and what can be done with it.

A line that begins with `!` may fail, and stands inside a `try` where that can be had. `@1` is a name of its own for
each place, so that nothing is read that was not bound.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Feature:
    """One kind of data: how it is made, what is done with it, looped over, asked of it."""

    name: str
    setup: str
    statements: tuple[str, ...]
    sources: tuple[str, ...] = ()
    """What a `for` goes over."""
    conditions: tuple[str, ...] = ()
    outside: str = ""
    """A name of the cells before that shares an object with the cell's: `held = xs`."""
    refuses: tuple[str, ...] = ()
    """Sources that can only be replayed, from what may have changed: resuming them may be refused."""
    asynchronous: tuple[str, ...] = ()
    """What an `async for` goes over."""


CORE = Feature(
    "core",
    "a, b, out = 1, 2, []",
    (
        "a = a * 3 % 17 + 1",
        "b += a",
        "a, b = b % 50, a",
        "out.append((a, b))",
        "out.append(a)",
        "print(a, b)",
        "print(a, end=' ')",
        "a, *@1 = [a, b, b]\nout.append(len(@1))",
        "if (@1 := a % 3) > 1: b = @1",
        "b = -b if a % 2 else b",
        "!b = 12 // (a % 3)",
        "!raise KeyError(a) if a % 4 == 0 else ValueError(b)",
        "!assert a % 3, 'thrice'",
        "@1: int = a\nb += @1",
        "@1 = a\nout.append(@1)\ndel @1",
        "del out[:-6]",
        "try:\n    b //= a % 2\nexcept ZeroDivisionError as error:\n    out.append(str(error))\nelse:\n    a += 1\nfinally:\n    b += 1",
        "match a % 4:\n    case 0 | 1 if b > 3:\n        b = b // 2\n    case 2 as @1:\n        out.append(@1)\n    case _:\n        a += 1",
        "import sys; print('err', a, file=sys.stderr)",
        "pass",
        "out += [a] * (a % 3)",
        "b = sum(k * a for k in range(3)) % 23",
        "@1 = [k + a for k in range(3) if k != b]\nout.append(@1)",
    ),
    (
        "range(2)",
        "range(3)",
        "range(3, 0, -1)",
        "range(0)",
        "[3, 1]",
        "(a, b)",
        "'ab'",
        "b'xy'",
        "enumerate('pq')",
        "zip(range(2), 'xyz')",
        "zip([1, 2], [3, 4], strict=True)",
        "reversed([a, b])",
        "map(str, (a, b))",
        "filter(None, [0, a, b])",
        "[[a], [b]]",
        "range(2**70, 2**70 + 2)",
        "sorted({a, b})",
    ),
    ("a % 2", "b > 9", "(c := a % 3)", "len(out) > 3", "not a % 3", "a < b < 40", "a == b or b % 2"),
)

LISTS = Feature(
    "lists",
    "xs = [4]\nnested = [xs, [5, 6]]\nalias = nested[1]",
    (
        "if len(xs) < 7: xs.append(a)",
        "xs[-1:] = [b % 7]",
        "if len(xs) > 1: xs.pop(0)",
        "if len(xs) < 5: xs += [a, b]",
        "if len(xs) > 4: del xs[1:3]",
        "alias.append(b)\ndel alias[:-4]",
        "nested[0] = xs",
        "nested.append(alias)\ndel nested[:-3]",
        "alias = nested[a % len(nested)]",
        "xs = xs[:5]",
        "xs.reverse()",
        "xs = [*xs[-2:], a]",
        "@1, *@2 = xs or [a]\nout.append((@1, @2))",
        "nested = [list(row)[:4] for row in nested]",
        "xs.insert(0, xs.pop() if xs else a)",
        "(nested[0] if a % 2 else alias)[:1] = [a]",
        "out.append(xs)\ndel out[:-5]",
        "!xs[a] = b",
        "!del xs[3]",
        "xs, alias = alias, xs",
        "match xs:\n    case [@1]:\n        b += 1\n    case [@1, *@2]:\n        out.append(@2)",
        "xs.sort(key=str)",
    ),
    (
        "xs",
        "xs[:3]",
        "nested",
        "list(xs)",
        "reversed(xs)",
        "enumerate(xs)",
        "zip(xs, alias)",
        "zip(*[xs[:4]] * 2)",
        "iter(alias)",
        "map(lambda k: (k, a), xs)",
        "enumerate(zip(xs, nested), 5)",
        "tuple(nested)",
        "[x for x in nested]",
    ),
    ("xs", "not xs", "len(xs) > 2", "xs is alias", "nested[0] is xs"),
    "held = nested[-1]",
)

DICTS = Feature(
    "dicts",
    "inner = [0]\nd = {'k': inner, 1: 'one', 'b': {'deep': inner}}",
    (
        "d['v'] = inner",
        "d[a % 3] = a",
        "d.setdefault(b % 3, []) ",
        "d |= {a % 2: b}",
        "inner.append(a)\ndel inner[:-3]",
        "d['b']['deep'] = inner = [a]",
        "d['self'] = d",
        "d = dict(d)",
        "d = {key: value for key, value in d.items() if key != a}",
        "!d['k'].append(b)",
        "!out.append(d[a])",
        "d['b'] = {**d['b'], 'n': len(d)}",
        "match d:\n    case {'v': [*@1], **@2}:\n        out.append((len(@1), len(@2)))\n    case {'k': @1}:\n        out.append(@1)",
        "out.append(d.get('k'))",
        "@1 = d.keys()\nout.append(len(@1))",
    ),
    (
        "d",
        "d.items()",
        "d.values()",
        "d.keys()",
        "reversed(d)",
        "reversed(d.items())",
        "list(d.items())",
        "enumerate(d.values())",
        "zip(d, d.values())",
        "sorted(d, key=str)",
        "[d, inner]",
    ),
    ("'v' in d", "len(d) > 3", "d.get('self') is d", "d.get('k') is inner"),
    "held = d['b']",
)

# A dict that grows and shrinks while something goes over it has holes, of which Python itself gives no account.
SHRINKING = Feature(
    "shrinking",
    "dd = {k: [k] for k in 'pqrst'}\nee = dd",
    (
        "dd.pop('q', None)",
        "!del dd['r']",
        "!dd.popitem()",
        "dd = {k: [k] for k in 'pqr'}",
        "ee = dd",
        "if a % 5 == 0: dd.clear()",
        "for @1 in list(dd):\n    if @1 == 's': del dd[@1]",
        "if 'p' in dd: dd['p'] = dd.get('q', a)",
    ),
    ("dd", "dd.items()", "ee.values()", "enumerate(dd)", "reversed(dd)", "list(ee)"),
    ("'q' in dd", "dd is ee", "len(ee) > 3"),
    "held = ee",
)

COLLECTIONS = Feature(
    "collections",
    "from collections import Counter, OrderedDict, defaultdict, deque, namedtuple\n"
    "ring = deque([1, 2], maxlen=4)\ngroups = defaultdict(list)\ncounts = Counter('aab')\nod = OrderedDict(x=ring)",
    (
        "ring.append(a)",
        "ring.appendleft(b)",
        "ring.rotate(1)",
        "if ring: ring.popleft()",
        "groups[a % 2].append(a)\ndel groups[a % 2][:-3]",
        "groups[b % 3]",
        "counts[str(a % 3)] += 1",
        "counts.update('ab')",
        "od['x'] = ring",
        "od[a % 2] = groups",
        "ring.append(groups[0])",
        "ring.extend([a, b])",
        "Pair = namedtuple('Pair', 'x y')\nout.append(tuple(Pair(a, b)))",
        "out.append(counts.most_common(1))",
        "!ring.remove(b)",
    ),
    (  # nobody can tell whether a deque was changed since an iterator over it was made
        "list(ring)",
        "deque([a, b])",
        "reversed(deque('xy'))",
        "groups",
        "groups.items()",
        "counts.items()",
        "counts.elements()",
        "od",
        "od.items()",
        "reversed(od)",
        "enumerate(deque([[a], [b]]))",
        "counts.most_common()",
    ),
    ("len(ring) > 2", "groups[0]", "counts['a'] > 3"),
    "held = ring",
)

SETS = Feature(
    "sets",
    "st = {1, 2}\nfs = frozenset({3, (4, 5)})\nsets = [st, {6}]",
    (
        "st.add(a % 7)",
        "st.discard(b % 7)",
        "st |= {a % 5}",
        "st ^= {1, b % 4}",
        "st = st | {2}",
        "sets[a % 2] = st",
        "fs = fs | {a % 3}",
        "sets[0].add(0)",
        "if st: st.remove(min(st))",
        "!st.remove(a)",
        "out.append(sorted(st))",
        "st = {k % 5 for k in st}",
    ),
    ("sorted(st)", "st", "sets", "list(sets[0])", "sorted(fs, key=str)", "enumerate(st)"),
    ("a in st", "len(st) > 2", "st is sets[0]", "st <= {0, 1, 2}"),
    "held = sets[0]",
)

OBJECTS = Feature(
    "objects",
    "class Node:\n    made = 0\n    log = []\n    def __init__(self, value):\n        self.value = value\n"
    "        self.next = self\n        Node.made += 1\n    def step(self, by=1):\n        self.value += by\n        return self\n"
    "    @property\n    def twice(self):\n        return self.value * 2\n    @classmethod\n    def note(cls, x):\n"
    "        cls.log.append(x)\n        del cls.log[:-3]\n    def __repr__(self):\n        return f'Node({self.value})'\n"
    "node = Node(3)\nother = Node(4)\nnode.next = other",
    (
        "node.step()",
        "other.step(by=a)",
        "node.next, other.next = other, node",
        "node, other = other, node",
        "other = Node(b)",
        "node.next = Node(a)\nnode.next.next = node",
        "Node.note(a)",
        "out.append(node.twice)",
        "print(node, other.next)",
        "node.extra = [a]",
        "if hasattr(node, 'extra'): node.extra.append(b)",
        "!del node.extra",
        "!node.missing",
        "Node.made += 1",
        "out.append(node)\ndel out[:-4]",
        "step = node.step\nstep(2)",
        "match node:\n    case Node(value=1 | 2 | 3):\n        b += 1\n    case Node(value=@1):\n        out.append(@1)",
        "node.__dict__['k'] = out",
    ),
    ("[node, other]", "[node, node.next, other]", "Node.log", "{1: node, 2: other}.items()"),
    ("node.value % 2", "node.next is other", "Node.made > 3", "hasattr(node, 'extra')"),
    "held = node.next",
)

KINDS = Feature(
    "kinds",
    "import enum\nfrom dataclasses import dataclass, field, replace\n"
    "class Color(enum.Enum):\n    RED = 1\n    BLUE = 2\n"
    "class Flag(enum.IntFlag):\n    X = 1\n    Y = 2\n"
    "@dataclass\nclass Point:\n    x: int\n    tags: list = field(default_factory=list)\n"
    "class Slots:\n    __slots__ = ('p', 'q')\n"
    "class Grown(list):\n    pass\n"
    "class Keyed(dict):\n    def __missing__(self, key):\n        return self.setdefault(key, [])\n"
    "color, point, slots, grown, keyed = Color.RED, Point(1), Slots(), Grown([1]), Keyed()\nslots.p = point",
    (
        "color = Color.BLUE if color is Color.RED else Color.RED",
        "point.tags.append(a)\ndel point.tags[:-3]",
        "point = replace(point, x=a)",
        "slots.q = point.tags",
        "slots.p.x += 1",
        "grown.append(slots)\ndel grown[:-3]",
        "grown.own = point",
        "keyed[a % 2].append(b)\ndel keyed[a % 2][:-2]",
        "keyed.color = color",
        "out.append(color.name)",
        "print(point)",
        "out.append(getattr(slots, 'q', None))",
        "if hasattr(slots, 'q'): del slots.q",
        "@1 = Flag(a % 4)\nout.append(@1)",
        "out.append(Flag.X | Flag.Y)",
        "slots = Slots()\nslots.p = Point(b)",
    ),
    ("Color", "list(Color)", "grown", "keyed", "keyed.items()", "[point, slots]", "enumerate(grown)"),
    ("color is Color.RED", "point == Point(1)", "hasattr(slots, 'q')"),
    "held = point.tags",
)

FUNCTIONS = Feature(
    "functions",
    "import functools\ntotal, calls = 0, []\n"
    "def bump(by=1):\n    global total\n    total += by\n    calls.append(by)\n    del calls[:-4]\n    return total\n"
    "def remember(x, seen=[]):\n    seen.append(x)\n    del seen[:-4]\n    return seen\n"
    "def counter(start):\n    count = start\n    def up():\n        nonlocal count\n        count += 1\n        return count\n"
    "    def look():\n        return count\n    return up, look\n"
    "up, look = counter(a)\nadd = functools.partial(bump, 2)\nlam = lambda k: k + total",
    (
        "bump()",
        "a += bump(2) % 5",
        "remember(a)",
        "out.append(remember(b)[-1])",
        "up()",
        "out.append(up())",
        "b += look()",
        "up, look = counter(b)",
        "add()",
        "out.append(lam(a))",
        "lam = lambda k, a=a: k * a",
        "def bump(by=1, more=[a]):\n    global total\n    total += by + more[0]\n    return total",
        "bump.calls = getattr(bump, 'calls', 0) + 1",
        "total = 0",
        "fs = [functools.partial(bump, k) for k in range(2)]\nfs[0]()",
        "out.append((lambda: total + a)())",
        "def local():\n    inside = [a]\n    for k in range(2):\n        inside.append(k)\n    return inside\nout.append(local())",
        "ups = [up, up]\nups[0]()",
        "add = functools.partial(add, )",
        "lam.table = calls",
        "def rebind():\n    global calls\n    calls = [total]\nrebind()",
        "exec('total += 1', globals())",
    ),
    (
        "calls",
        "remember(a)",
        "[up, look]",
        "map(lam, (1, 2))",
        "map(bump, [1, 2])",
        "filter(lambda k: k % 2, [1, 2, 3])",
        "remember.__defaults__[0]",
    ),
    ("bump() % 2", "look() > 3", "lam(1) % 2", "total % 3"),
    "held = remember.__defaults__[0]",
)

ITERATORS = Feature(
    "iterators",
    "import itertools\nsrc = [1, 2, 3, 4, 5, 6]\nit = iter(src)\nit2 = it\nnum = enumerate(src)\npairs = zip(it, 'abcd')\ncnt = itertools.count(3)",
    (
        "out.append(next(it, None))",
        "out.append(next(num, 'end'))",
        "out.append(next(pairs, None))",
        "out.append(next(cnt))",
        "it = iter(src)",
        "it2 = it",
        "num = enumerate(it2)",
        "pairs = zip(src, it)",
        "it = map(str, it2)",
        "it2 = reversed(src)",
        "src.append(a)\ndel src[6:]",
        "src = src[1:] + [a]",
        "it = iter({1: src, 2: src}.items())",
        "it = iter('xyz')",
        "held_iterators = {'it': it, 'num': num}",
        "out.append(list(itertools.islice(cnt, 2)))",
        "it = itertools.chain(src[:2], it2)",
        "!it = iter(range(a))\nout.append(next(it))",
    ),
    (
        "it",
        "it2",
        "num",
        "pairs",
        "itertools.islice(it, 2)",
        "itertools.islice(cnt, 2)",
        "itertools.chain([a], src[:1])",
        "itertools.product('ab', repeat=2)",
        "itertools.combinations(src[:3], 2)",
        "itertools.accumulate(src[:3])",
        "itertools.zip_longest(src[:1], 'ab')",
        "itertools.takewhile(lambda k: k < 3, src)",
        "itertools.starmap(max, [(1, a), (b, 2)])",
        "itertools.pairwise(src[:3])",
        "itertools.repeat(src, 2)",
        "itertools.islice(itertools.cycle(src), 3)",
        "itertools.permutations('ab')",
        "zip(it, it)",
        "enumerate(it)",
        "[(k, list(g)) for k, g in itertools.groupby(src[:3], key=lambda k: k % 2)]",
    ),
    ("next(it, 0)", "next(cnt) % 2", "it is it2"),
    "held = src",
)

GENERATORS = Feature(
    "generators",
    "def gen(n):\n    for k in range(n):\n        yield k * 2\n"
    "def tree(n):\n    if n:\n        yield n\n        yield from tree(n - 1)\n"
    "class Count:\n    def __init__(self, n):\n        self.n = n\n        self.k = 0\n    def __iter__(self):\n        return self\n"
    "    def __next__(self):\n        self.k += 1\n        if self.k > self.n:\n            raise StopIteration\n        return self.k\n"
    "class Old:\n    def __len__(self):\n        return 3\n    def __getitem__(self, k):\n        if k > 2:\n            raise IndexError\n        return [k]\n"
    "class Rows:\n    rows = [(1,), (2,), (3,)]\n    def __iter__(self):\n        yield from self.rows\n"
    "walk, old, rows = Count(4), Old(), Rows()",
    (
        "out.extend(gen(2))",
        "b += sum(tree(3))",
        "walk = Count(3)",
        "out.append(next(walk, None))",
        "out.append([k for k in gen(3)])",
        "out.append(max(k + a for k in tree(2)))",
        "out.append(list(rows)[0])",
        "a += sum(1 for _ in old)",
        "@1 = walk\nout.append(@1.k)",
    ),
    (
        "gen(2)",
        "gen(3)",
        "tree(3)",
        "walk",
        "Count(2)",
        "old",
        "rows",
        "(k * k for k in range(3))",
        "enumerate(gen(2))",
        "zip(gen(3), 'ab')",
        "map(lambda k: k, gen(2))",
        "iter(Count(2))",
        "(x for x in [[1], [2]])",
    ),
    ("any(gen(a % 3))", "walk.k > 2", "sum(gen(2)) > 1"),
    refuses=(
        "(k + a for k in gen(2))",
        "gen(a % 4)",
        "(x for x in out[:3])",
        "zip(walk, gen(3))",
        "(out.append(k) or k for k in gen(2))",
    ),
)

ARRAYS = Feature(
    "arrays",
    "import numpy as np\nA = np.arange(8.0)\nV = A[1:5]\nW = V[::-1]\nM = A.reshape(2, 4)\nbox = {'v': V, 'rows': [M[0], M[1]]}",
    (
        "V += 1",
        "A[0] = a",
        "W[0] *= 2",
        "M[1] = M[0]",
        "A = A.copy()",
        "A = np.arange(8.0) + a\nV = A[2:6]",
        "V = A[::2]",
        "W = W[::-1]",
        "M = A.reshape(4, 2)",
        "M = M.T",
        "box['v'] = V[1:]",
        "box['rows'][0][...] = b",
        "box['rows'].append(A[a % 4 :])\ndel box['rows'][:-2]",
        "np.add(V, 1, out=V)",
        "A[A > 3] -= 1",
        "out.append(float(A.sum()))",
        "out.append(V)\ndel out[:-4]",
        "print(V[:2])",
        "V = np.append(V, a)[-4:]",
        "W = A[3:]",
        "frozen = A[:2]\nfrozen.flags.writeable = False",
        "!A[20] = 1",
        "V = A[:0]",
        "s0 = A[2]\nout.append(s0)",
        "Z = A[2:3].reshape(())\nZ += 1",
        "W = np.lib.stride_tricks.sliding_window_view(A, 3)[1]",
        "B = A.view(np.int64)[:2]\nout.append(int(B[0] % 7))",
        "A.sort()",
        "M.flat[0] = a",
        "A[:4], A[4:] = A[4:].copy(), A[:4].copy()",
    ),
    (
        "A[:3]",
        "M",
        "M.T",
        "V",
        "box['rows']",
        "box.values()",
        "enumerate(M)",
        "zip(M, box['rows'])",
        "W[:2]",
        "np.split(A, 2)",
        "M.tolist()",
        "np.ndindex(2, 2)",
        "[A, V, W]",
        "list(V)[:2]",
    ),
    ("A[0] > 2", "(V > 1).any()", "V.base is A", "M.sum() % 2 > 1"),
    "held = M[0]",
)

STRUCTURED = Feature(
    "structured",
    "import numpy as np\nS = np.zeros(3, dtype=[('x', 'i4'), ('y', 'f8')])\nX = S['x']\nY = S[1:]['y']\nO = np.empty(2, dtype=object)\nO[0] = O[1] = out",
    (
        "X += 1",
        "S['y'][0] = a",
        "S[1] = (a, b)",
        "Y[0] += 0.5",
        "O[0] = [a]",
        "O[1] = O",
        "O[1] = [O[0]]",
        "out.append(S[0].item())",
        "X = S['x'][::-1]",
        "S = S.copy()",
        "out.append(len(O[0])) if isinstance(O[0], list) else None",
        "dates = np.array(['2020-01-01', 'NaT'], dtype='M8[D]')",
        "text = np.array(['ab', 'c'])[::-1]",
    ),
    ("S.tolist()", "X", "Y", "O", "S['y']"),
    ("X.sum() % 2", "O[0] is out"),
    "held = S['y']",
)

BUFFERS = Feature(
    "buffers",
    "import numpy as np\nraw = bytearray(16)\nF = np.frombuffer(raw, dtype='u1')\nG = np.frombuffer(raw, dtype='<u4')\nlook = memoryview(raw)",
    (
        "raw[0] = a % 256",
        "F[1] += 1",
        "G[1] = a",
        "out.append(bytes(raw[:4]))",
        "big = F[2:6]\nbig[0] = 9",
        "look[3] = 7",
        "F = F[::2]",
        "raw = bytearray(raw)",
        "G = G.copy()",
    ),
    ("F[:3]", "G[:2].tolist()", "raw[:2]"),
    ("raw[0] > 3", "F[1] % 2"),
    "held = F[4:]",
)

RANDOM = Feature(
    "random",
    "import random\nimport numpy as np\nR = random.Random(5)\nrng = np.random.default_rng(3)\nRS = np.random.RandomState(7)\nagain = rng\ndeck = [1, 2, 3, 4]",
    (
        "out.append(random.random())",
        "out.append(float(np.random.rand()))",
        "out.append(R.random())",
        "out.append(float(rng.random()))",
        "out.append(int(RS.randint(9)))",
        "out.append(int(again.integers(9)))",
        "random.shuffle(deck)",
        "rng.shuffle(deck)",
        "np.random.shuffle(deck)",
        "out.append(random.gauss(0, 1))",
        "out.append(float(np.random.randn()))",
        "out.append(float(RS.randn()))",
        "random.seed(a)",
        "np.random.seed(a % 100)",
        "rng = np.random.default_rng(a)",
        "R = random.Random(b)",
        "twin = np.random.Generator(rng.bit_generator)\nout.append(float(twin.random()))",
        "out.append(int(rng.integers(3, dtype='i1')))",
        "a += random.randrange(3)",
        "out.append(random.choices(deck, k=2))",
        "@1 = random.getstate()\nrandom.random()\nrandom.setstate(@1)",
        "draw = R.random\nout.append(draw())",
        "from random import random as rnd\nout.append(rnd())",
    ),
    (
        "random.sample(range(5), 2)",
        "rng.permutation(3)",
        "np.random.permutation(3)",
        "R.sample(deck, 2)",
        "deck",
        "RS.permutation(deck)[:2]",
        "[random.random() for _ in range(2)]",
        "sorted(deck, key=lambda _: random.random())",
        "zip(deck, rng.random(2))",
        "rng.choice(deck, size=(2, 2))",
    ),
    ("random.random() < 0.5", "rng.random() < 0.5", "R.random() < 0.5", "np.random.rand() < 0.5"),
    "held = deck",
    refuses=(
        "(random.random() for _ in range(2))",
        "(rng.integers(5) for _ in range(2))",
        "(R.random() for _ in range(2))",
    ),
)

EDGES = Feature(
    "edges",
    "f, z, huge, cx, s, by = float('nan'), -0.0, 2**80, 1 - 0j, 'é', b'\\x00'\ntp = ([1], {'k': (2,)})\nme = []\nme.append((me, tp))",
    (
        "f = f * 2",
        "f = float('inf') - a",
        "z = -z",
        "huge = huge * 3 % 2**90",
        "cx = cx * 1j",
        "s = s[-3:] + chr(97 + a % 5)",
        "by = by[-2:] + bytes([a % 256])",
        "tp[0].append(z)\ndel tp[0][:-3]",
        "tp = (tp[0], {'k': tp})",
        "tp = ([a], tp[0])",
        "me.append(me)\ndel me[2:]",
        "me[0] = (me, tp)",
        "out.append(f == f)",
        "out.append(repr(z))",
        "out.append(slice(a, None))",
        "out.append((..., None, NotImplemented))",
        "@1 = memoryview(bytearray(b'ab'))\nout.append(len(@1))",
        "err = ValueError(a, tp)",
        "out.append(range(a, b, 2))",
        "s = s.encode('utf-16', 'surrogatepass').decode('utf-16', 'surrogatepass')",
        "s = '\\ud800' + s[-2:]",
        "kinds = [int, list, type(None)]",
    ),
    ("tp", "me", "s", "by", "[f, z]", "{f: 1, z: 2}", "(f, tp)", "zip(s, by)"),
    ("f != f", "z == 0", "s > 'f'", "tp[0]"),
    "held = tp[0]",
)

ASYNC = Feature(
    "async",
    "import asyncio\nasync def ticks(n):\n    for k in range(n):\n        await asyncio.sleep(0)\n        yield k\n"
    "async def work(x):\n    await asyncio.sleep(0)\n    return x + 1\n"
    "class Stream:\n    def __init__(self, n):\n        self.n = n\n    def __aiter__(self):\n        return self\n"
    "    async def __anext__(self):\n        if self.n <= 0:\n            raise StopAsyncIteration\n        self.n -= 1\n        return self.n\n"
    "class Guard:\n    async def __aenter__(self):\n        return self\n    async def __aexit__(self, *_):\n        return False\n"
    "stream = Stream(3)",
    (
        "a = await work(a) % 20",
        "out.append(await work(b))",
        "await asyncio.sleep(0)",
        "a, b = await asyncio.gather(work(a), work(b))",
        "out.append([k async for k in ticks(2)])",
        "out.append([await work(k) for k in range(2)])",
        "stream = Stream(2)",
        "async with Guard() as @1:\n    b += 1",
    ),
    ("await asyncio.gather(work(1), work(2))", "[await work(k) for k in (1, 2)]"),
    ("await work(a) % 2", "stream.n"),
    asynchronous=("ticks(2)", "ticks(3)", "stream", "Stream(2)"),
)

FEATURES = (
    LISTS,
    DICTS,
    SHRINKING,
    COLLECTIONS,
    SETS,
    OBJECTS,
    KINDS,
    FUNCTIONS,
    ITERATORS,
    GENERATORS,
    ARRAYS,
    STRUCTURED,
    BUFFERS,
    RANDOM,
    EDGES,
    ASYNC,
)
