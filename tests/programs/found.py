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
]
