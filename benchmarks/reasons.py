"""Why a target is not met, where that is known: what the floor or the peer does not do, and nbckpt has to."""

from __future__ import annotations

from .targets import Goal

_COPIED_AND_HASHED = (
    "The bytes are copied, so that the loop can go on, and each is hashed with BLAKE3, so that damage is found; only "
    "then are they written."
)
_ONLY_WRITES = f"{_COPIED_AND_HASHED} The floor only writes."
_ONLY_READS = "The floor verifies nothing: to hash all bytes takes about as long as to read them."
_REASONS = {
    "effective stall": (
        f"{_COPIED_AND_HASHED} The peer only writes them, and processor time of all three is counted: half of what the "
        "writing alone takes is less than the writing alone."
    ),
    "durable, W1": _ONLY_WRITES,
    "durable, W2f": (
        "The floor has the machine to itself, and only writes. Here the loop goes on, on all processors, while the "
        "bytes are hashed with BLAKE3 and written."
    ),
    "durable, W2": _ONLY_WRITES,
    "durable, W3": "The floor writes some kilobytes that it is given; here it has to be found first which they are.",
    "durable, W4": (
        "The floor writes some kilobytes that it is given; here a million rows are looked through for them."
    ),
    "durable, W5": (
        "One file is on the disk after one fsync. A snapshot is three, with the folders that name them, and the entry "
        "of the log may be written only after the others are on the disk: that is what no power cut tears."
    ),
    "restore, W1": _ONLY_READS,
    "restore, W2": _ONLY_READS,
    "restore, W4": (
        "To unpickle the rows takes a third of it, and to put a million keys into one dict more than that, as each "
        "waits for memory: nothing is left to save but what pickle does itself."
    ),
    "restore, W5": (
        "A store is opened, a key read and the signatures of two entries of its log are verified before anything is "
        "unpickled. The peer verifies nothing but its own cache."
    ),
    "ms of stall": (
        "Two of the later saves still read every byte, before what the kernel tells is believed, and count in the "
        "median. The others copy what changed, which is most of what they take."
    ),
    "stall, W2f": (
        "Beside the floor, hundreds of objects around the tensors are pickled, and the kernel is asked about the pages "
        "of nineteen buffers: each took 4 ms here, and where memory is quick the floor is little more."
    ),
    "stall, W4": (
        "A row may have changed without a trace, so each is looked at. The cheapest look that finds every change, of "
        "all that were measured, is to pickle the rows stretch by stretch in the processor's cache and to hash that: "
        "0.22 to 0.29 of pickling all. Only reading a reference count for each takes 0.08."
    ),
    "stall of the first save": "What cannot be known yet is found out once: which rows are plain, and who shares them.",
    "% of the time in all": (
        "The first snapshot writes everything, and is made within a minute whatever it costs: of so short a run that "
        "is a large part. The later ones wait until the share allows for them."
    ),
    "S3 upload": "The client alone hashes nothing, and client, server and hashing share two processors here.",
    "S3 download": "The client alone verifies nothing, and client, server and hashing share two processors here.",
    "ns an iteration, tracked, tight loop over a range": (
        "Two calls in C for each item, so that the loop can be stopped at the next one: 10 to 15 on this processor, "
        "and 9 on a faster one."
    ),
    "ns an iteration, tracked, tight loop over an iterator": (
        "A call in C or a generator's frame for each item costs 17 to 24 already. What costs less draws items before "
        "the loop wants them, cannot be stopped at the next iteration, or does not know the item that is current."
    ),
}
"""By how a target's name begins."""


def reason(goal: Goal) -> str:
    """Why it is not met; nothing where nobody has found that out."""
    return next((said for name, said in _REASONS.items() if goal.what.startswith(name)), "")
