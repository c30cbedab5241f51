"""TensorFlow and Keras."""

from programs.harness import Program

_MODELS = "Keras: models with optimizer, layers, metrics, SeedGenerator"
_DATA = """
import os
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
import numpy as np
import keras
import tensorflow as tf
keras.backend.clear_session()
rng = np.random.default_rng(1)
X = rng.normal(size=(24, 3)).astype("float32")
y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")
"""

PROGRAMS = [
    Program(
        "keras_batches",
        "A compiled model that is trained batch by batch goes on bit for bit, dropout and optimizer included.",
        """
keras.utils.set_random_seed(3)
model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(4, activation="relu"),
                          keras.layers.Dropout(0.3), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse", metrics=["mae"])
first, optimizer, losses = model.layers[0], model.optimizer, []
for epoch in range(2):
    for start in range(0, 24, 12):
        losses.append(model.train_on_batch(X[start : start + 12], y[start : start + 12], return_dict=True))
    model.reset_metrics()
print(int(optimizer.iterations), model.layers[0] is first, first.kernel is model.trainable_variables[0])
losses, model(X[:2]).numpy().tolist()
""",
        before=(_DATA,),
        library="tensorflow keras",
        every=4,
        row=_MODELS,
    ),
    Program(
        "keras_settings",
        "What layers compute in, and how images lie, is what the cell has set.",
        """
made = []
keras.mixed_precision.set_global_policy("mixed_float16")
keras.config.set_image_data_format("channels_first")
keras.config.set_epsilon(1e-5)
keras.config.disable_interactive_logging()
for k in range(2):
    layer = keras.layers.Dense(2)
    made.append((layer.compute_dtype, layer.variable_dtype, keras.config.image_data_format(), keras.config.epsilon()))
    made.append(keras.config.is_interactive_logging_enabled())
keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float64")
for k in range(2):
    made.append((keras.layers.Dense(2).compute_dtype, keras.config.floatx(), keras.config.dtype_policy().name))
made
""",
        before=(
            _DATA + "keras.config.set_floatx('float32')\nkeras.config.set_dtype_policy('float32')\n"
            "keras.config.set_image_data_format('channels_last')\nkeras.config.set_epsilon(1e-7)\n"
            "keras.config.enable_interactive_logging()\n",
        ),
        needs_before=True,
        unsaved=frozenset({"layer"}),
        library="tensorflow keras",
        row="Keras: settings",
    ),
    Program(
        "a_gradient_tape",
        "A training loop of one's own, over tf.data with shuffling, goes on at the batch it had come to.",
        """
tf.random.set_seed(4)
weight, bias = tf.Variable(tf.random.normal((3, 1), seed=1), name="weight"), tf.Variable([0.0])
both, optimizer, losses = {"weight": weight, "bias": bias}, keras.optimizers.SGD(0.1, momentum=0.9), []
data = tf.data.Dataset.from_tensor_slices((X, y)).shuffle(24, seed=5, reshuffle_each_iteration=False).batch(12)
for epoch in range(2):
    for features, labels in data:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((features @ weight + bias - labels) ** 2)
        gradients = tape.gradient(loss, [weight, bias])
        optimizer.apply_gradients(zip(gradients, [weight, bias]))
        losses.append(float(loss))
    both["bias"].assign_add([0.001])
both["weight"] is weight, losses, bias.numpy().tolist()
""",
        before=(_DATA,),
        unsaved=frozenset({"data"}),  # it is a pipeline of another class, which gives the same
        library="tensorflow keras",
        every=3,
        row="TensorFlow: Variable, Tensor, tf.data loops",
    ),
    Program(
        "tensorflow_generators",
        "TensorFlow's and Keras's generators draw what they would have drawn.",
        """
keras.utils.set_random_seed(7)
tf.random.get_global_generator().reset_from_seed(2)
generator, seeds = tf.random.Generator.from_seed(3), keras.random.SeedGenerator(5)
layer, out = keras.layers.GaussianNoise(1.0), []
for k in range(3):
    out.append([float(generator.normal(())), float(keras.random.normal((), seed=seeds)),
                float(tf.random.get_global_generator().uniform(())), float(keras.random.uniform(())),
                float(layer(tf.zeros((1,)), training=True)[0]), float(tf.random.stateless_normal((), seed=(k, 1))),
                np.random.rand()])
out
""",
        before=(_DATA,),
        library="tensorflow keras",
        row="TensorFlow and Keras: random generators, global and held",
    ),
    Program(
        "tensorflow_legacy_draws",
        "tf.random.normal and its like, which count their draws out of sight, go on from the seed.",
        """
tf.random.set_seed(7)
out = []
for k in range(3):
    out.append([float(tf.random.normal(())), tf.random.shuffle([1, 2, 3, 4]).numpy().tolist()])
out
""",
        before=(_DATA,),
        library="tensorflow keras",
        row="TensorFlow: tf.random.normal and other legacy draws",
    ),
    Program(
        "values_of_tensorflow",
        "Tensors, ragged and sparse tensors, modules and traced functions come back.",
        """
import tensorflow as tf
class Scale(tf.Module):
    def __init__(self):
        self.factor = tf.Variable(2.0)
        self.parts = [self.factor]
    def __call__(self, x):
        return self.factor * x
@tf.function
def traced(x):
    return tf.reduce_sum(scale(x))
scale, total = Scale(), tf.constant([0.0, 1.0], dtype=tf.float64)
ragged, sparse = tf.ragged.constant([[1], [2, 3]]), tf.sparse.from_dense([[0, 1], [2, 0]])
out, shape = [], tf.TensorShape([None, 2])
for k in range(3):
    total = total + k
    scale.factor.assign_add(1.0)
    out.append(float(traced(tf.cast(total, tf.float32))))
scale.parts[0] is scale.factor, out, ragged.to_list(), tf.sparse.to_dense(sparse).numpy(), shape, total.dtype
""",
        before=(_DATA,),
        library="tensorflow keras",
        every=3,
        row="TensorFlow: Variable, Tensor, tf.data loops",
    ),
]
