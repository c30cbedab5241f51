"""TensorFlow's input pipelines, iterators over them, and traced functions.

A pipeline is saved as its graph, an iterator as its place in it: what is in its shuffle buffer comes back, too.
"""

from __future__ import annotations

import pickle
from typing import Any


def reduce(thing: Any) -> Any:
    """Keep a pipeline, an iterator or a traced function.

    Raises:
        pickle.PicklingError: it runs Python code, or shuffles anew each time.
    """
    import tensorflow as tf

    if isinstance(thing, tf.data.Dataset):
        return _reduce_dataset(thing)
    if isinstance(thing, tf.data.Iterator):
        return _reduce_iterator(thing)
    if isinstance(thing, tf.distribute.Strategy):
        return (tf.distribute.get_strategy, ()) if thing is tf.distribute.get_strategy() else NotImplemented
    options = {"autograph": thing._autograph, "jit_compile": thing._jit_compile}  # noqa: SLF001 - known to it only
    options["reduce_retracing"] = thing._reduce_retracing  # noqa: SLF001
    return _traced, (thing.python_function, thing.input_signature, options)


def _traced(function: Any, signature: Any, options: dict[str, Any]) -> Any:
    import tensorflow as tf

    return tf.function(function, signature, **options)


def _reduce_dataset(dataset: Any) -> Any:
    if _shuffles_anew(graph := _graph(dataset)):
        raise pickle.PicklingError(
            "it shuffles anew each time, and how often it did is out of sight: use "
            "shuffle(..., reshuffle_each_iteration=False), or make it in the loop over epochs"
        )
    return _dataset, (graph, dataset.element_spec)


def _graph(dataset: Any) -> bytes:
    import tensorflow as tf

    try:
        return bytes(dataset._as_serialized_graph().numpy())  # noqa: SLF001 - its public way goes through a file
    except tf.errors.OpError as error:
        raise pickle.PicklingError(
            f"a tf.data pipeline that runs Python code cannot be saved ({error.message})"
        ) from error


def _shuffles_anew(graph: bytes) -> bool:
    from tensorflow.core.framework import graph_pb2

    found = graph_pb2.GraphDef.FromString(graph)
    return any(node.attr["reshuffle_each_iteration"].b for node in found.node if "Shuffle" in node.op)


def _dataset(graph: bytes, spec: Any) -> Any:
    import tensorflow as tf

    return tf.data.experimental.from_variant(tf.raw_ops.DatasetFromGraph(graph_def=graph), spec)


def _reduce_iterator(iterator: Any) -> Any:
    import tensorflow as tf

    graph = _graph(iterator._dataset)  # noqa: SLF001
    try:
        place = tf.raw_ops.SerializeIterator(resource_handle=iterator._iterator_resource)  # noqa: SLF001
        return _iterator, (graph, iterator.element_spec, tf.io.serialize_tensor(place).numpy())
    except tf.errors.OpError as error:
        raise pickle.PicklingError(f"its place in the pipeline cannot be saved ({error.message})") from error


def _iterator(graph: bytes, spec: Any, place: bytes) -> Any:
    import tensorflow as tf

    iterator = iter(_dataset(graph, spec))
    variant = tf.io.parse_tensor(place, tf.variant)
    tf.raw_ops.DeserializeIterator(resource_handle=iterator._iterator_resource, serialized=variant)  # noqa: SLF001
    return iterator
