"""JAX, with optax and flax."""

from programs.harness import Program

_ARRAYS = "JAX: arrays, PRNG keys, pytrees"

PROGRAMS = [
    Program(
        "jax_values",
        "Arrays keep their types, weak types, devices and commitment; keys go on.",
        """
import jax
import jax.numpy as jnp
key, old = jax.random.key(3), jax.random.PRNGKey(4)
half, weak, whole = jnp.ones(3, jnp.bfloat16), jnp.asarray(2.0) * 1, jnp.arange(4)
put = jax.device_put(jnp.ones(2), jax.devices()[0])
scalar, tree, out = jax.lax.full((), 3.0), {"a": (whole, [half])}, []
for k in range(3):
    key, sub = jax.random.split(key)
    old = jax.random.fold_in(old, k)
    tree = jax.tree.map(lambda leaf: leaf + 1, tree)
    out.append((float(jax.random.normal(sub)), float(jax.random.uniform(old)), float(scalar + k)))
    put = put.at[k % 2].add(k)
print(weak.weak_type, (weak + half).dtype, put.committed, whole.committed, jax.random.key_impl(key))
out, jax.tree.leaves(tree)
""",
        every=3,
        library="jax",
        row=_ARRAYS,
    ),
    Program(
        "jax_devices_and_64_bits",
        "Devices, meshes and shardings that variables hold come back, and arrays keep their 64 bits.",
        """
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
jax.config.update("jax_enable_x64", True)
devices = jax.devices()
mesh = Mesh(np.array(devices), ("rows",))
sharding = NamedSharding(mesh, PartitionSpec("rows"))
put, free, whole = jax.device_put(jnp.arange(2.0), sharding), jnp.linspace(0, 1, 3), jnp.arange(2)
out = []
for k in range(3):
    put, free, whole = put + 1 / 3, free * 1.1, whole + 2**40
    out.append((put.tolist(), free.tolist(), whole.tolist(), str(free.dtype), str(put.sharding.spec)))
print(devices[0] is jax.devices()[0], put.devices() == {devices[0]}, jnp.ones(1).dtype, mesh.devices[0] is devices[0])
jax.config.update("jax_enable_x64", False)
out
""",
        before=("import jax\njax.config.update('jax_enable_x64', False)\n",),
        every=3,
        library="jax",
        row=_ARRAYS,
    ),
    Program(
        "optax_and_flax",
        "A training of linen parameters with optax goes on bit for bit, compiled functions included.",
        """
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training import train_state
class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Dense(4)(x))
        return nn.Dense(1)(nn.Dropout(0.5, deterministic=not train)(x))
key = jax.random.key(0)
x = jax.random.normal(jax.random.key(1), (8, 3))
net = Net()
parameters = net.init(key, x, False)["params"]
state = train_state.TrainState.create(apply_fn=net.apply, params=parameters, tx=optax.adam(1e-2))
@jax.jit
def step(state, key):
    def loss(p):
        return jnp.mean((state.apply_fn({"params": p}, x, True, rngs={"dropout": key}) - 1.0) ** 2)
    value, gradients = jax.value_and_grad(loss)(state.params)
    return state.apply_gradients(grads=gradients), value
losses = []
for k in range(3):
    key, sub = jax.random.split(key)
    state, value = step(state, sub)
    losses.append(float(value))
int(state.step), losses
""",
        every=3,
        library="jax optax flax",
        row="JAX: optax states, flax linen parameters and nnx modules",
    ),
    Program(
        "flax_dataclasses",
        "States and other dataclasses of one's own are known to jax and flax, wherever the class comes from.",
        """
import optax
from flax import serialization
state = State.create(
    apply_fn=None, params={"w": jnp.ones(2)}, tx=optax.sgd(0.1), statistics=jnp.zeros(1), key=jax.random.key(1)
)
seen, out = Seen(number=jnp.zeros(()), label="x"), []
for k in range(3):
    state = jax.tree.map(lambda leaf: leaf, state).apply_gradients(grads=state.params, statistics=state.statistics + k)
    seen = jax.jit(lambda seen: seen.replace(number=seen.number + 1))(seen)
    out.append((len(jax.tree.leaves(state)), sorted(serialization.to_state_dict(state.replace(key=jnp.ones(1))))))
again = serialization.from_bytes(seen, serialization.to_bytes(seen))
out, state.params["w"].tolist(), float(again.number), type(state) is State, seen.label
""",
        before=(
            """
import jax
import jax.numpy as jnp
from typing import Any
from flax import struct
from flax.training import train_state
class State(train_state.TrainState):
    statistics: Any
    key: jax.Array
@struct.dataclass
class Seen:
    number: jax.Array
    label: str = struct.field(pytree_node=False)
""",
        ),
        every=2,
        library="jax optax flax",
        row="JAX: optax states, flax linen parameters and nnx modules",
    ),
    Program(
        "nnx_modules",
        "nnx modules and optimizers, which are changed in place, keep what they share.",
        """
import jax
import jax.numpy as jnp
import optax
from flax import nnx
class Net(nnx.Module):
    def __init__(self, rngs):
        self.first, self.drop = nnx.Linear(3, 4, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.last = nnx.Linear(4, 1, rngs=rngs)
    def __call__(self, x):
        return self.last(self.drop(self.norm(nnx.relu(self.first(x)))))
net = Net(nnx.Rngs(0))
kernel, first = net.first.kernel, net.first
optimizer = nnx.Optimizer(net, optax.sgd(0.1, momentum=0.9), wrt=nnx.Param)
x, losses = jnp.linspace(0, 1, 24).reshape(8, 3), []
for k in range(3):
    loss, gradients = nnx.value_and_grad(lambda net: jnp.mean((net(x) - 1.0) ** 2))(net)
    optimizer.update(net, gradients)
    losses.append(float(loss))
net.first is first, first.kernel is kernel, losses
""",
        every=3,
        library="jax optax flax",
        row="JAX: optax states, flax linen parameters and nnx modules",
    ),
]
