"""Gymnasium: environments in the middle of an episode."""

from programs.harness import Program

_ROW = "Gymnasium: environments mid-episode, wrappers, vector environments"

PROGRAMS = [
    Program(
        "episodes",
        "An environment goes on in the middle of an episode, wrappers and generators included.",
        """
import gymnasium as gym
import numpy as np
env = gym.wrappers.RecordEpisodeStatistics(gym.make("CartPole-v1", max_episode_steps=3))
state, info = env.reset(seed=3)
env.action_space.seed(5)
out, episodes = [], []
for step in range(7):
    state, reward, terminated, truncated, info = env.step(env.action_space.sample())
    out.append((state.tolist(), reward, terminated, truncated))
    if terminated or truncated:
        episodes.append(float(info["episode"]["r"]))
        state, info = env.reset()
out, episodes, float(env.unwrapped.np_random.random()), env.unwrapped.spec.id
""",
        library="gymnasium",
        row=_ROW,
    ),
    Program(
        "a_table_of_values",
        "Learning on a toy world goes on with its table, its world and its random actions.",
        """
import gymnasium as gym
import numpy as np
env = gym.make("FrozenLake-v1", is_slippery=True)
table, rng = np.zeros((env.observation_space.n, env.action_space.n)), np.random.default_rng(1)
env.action_space.seed(2)
for episode in range(3):
    state, _ = env.reset(seed=1 if episode == 0 else None)
    done = False
    while not done:
        action = env.action_space.sample() if rng.random() < 0.5 else int(table[state].argmax())
        after, reward, ended, cut, _ = env.step(action)
        table[state, action] += 0.1 * (reward + 0.9 * table[after].max() - table[state, action])
        state, done = after, ended or cut
table.sum(), state, env.spec.id
""",
        library="gymnasium",
        row=_ROW,
        at_least=8,
    ),
    Program(
        "a_world_of_ones_own",
        "An environment class of the notebook, and several worlds side by side, go on as they were.",
        """
import gymnasium as gym
import numpy as np
class Walk(gym.Env):
    observation_space = gym.spaces.Box(-10, 10, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = np.zeros(1, np.float32)
        return self.at.copy(), {}
    def step(self, action):
        self.at += (2 * action - 1) * self.np_random.random()
        return self.at.copy(), float(self.at[0]), abs(self.at[0]) > 2, False, {}
walk, both = Walk(), gym.vector.SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2)
walk.reset(seed=1)
seen, _ = both.reset(seed=7)
both.action_space.seed(1)
out = []
for k in range(4):
    out.append(walk.step(k % 2)[0].tolist())
    seen, rewards, *_ = both.step(both.action_space.sample())
    out.append(seen.tolist())
out
""",
        library="gymnasium",
        row=_ROW,
    ),
]
