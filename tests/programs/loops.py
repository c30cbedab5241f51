"""Loops: nested, left early, inside other blocks, over moving conditions."""

from .harness import Program

PROGRAMS = [
    Program(
        "three_deep",
        "Three loops deep, with work before, between and after them, every statement runs exactly once.",
        """
import ledger
total, seen = 0, []
for a in range(2):
    row = []
    for b in "xy":
        ledger.note((a, b))
        for c in [10, 20]:
            total += a + c
            ledger.note((a, b, c))
            row.append((b, c))
        seen.append(list(row))
    print(a, row)
print("end", total)
total
""",
        at_least=15,
    ),
    Program(
        "while_with_moving_condition",
        "What a `while` body changes before its inner loop is not changed twice.",
        """
k, log = 0, []
pend = [1, 2, 3, 4]
while k < 3:
    k += 1
    for j in range(2):
        log.append((k, j))
while pend:
    n = pend.pop()
    for j in range(n):
        log.append((n, j))
    print(n)
while True:
    k -= 1
    for j in range(2):
        log.append(k)
    if k <= 0:
        break
k, len(log)
""",
        at_least=15,
    ),
]
