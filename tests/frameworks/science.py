"""SciPy and scikit-learn."""

from programs.harness import Program

_SPARSE = "SciPy: sparse matrices and arrays"
_LEARN = "scikit-learn: estimators, pipelines, partial_fit, warm_start"

PROGRAMS = [
    Program(
        "sparse_matrices",
        "Sparse matrices and arrays keep their format, and the data that several of them share.",
        """
import numpy as np
import scipy.sparse as sp
matrix = sp.random(6, 6, density=0.4, format="csr", random_state=1)
twin = sp.csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
array, grid = sp.coo_array(([1.0, 2.0], ([0, 1], [1, 0])), shape=(2, 2)), sp.lil_matrix((3, 3))
keys, data = sp.dok_array((3, 3)), matrix.data
x = np.ones(6)
for k in range(4):
    matrix.data *= 1.5
    x = matrix @ x / np.linalg.norm(x)
    grid[k % 3, k % 2] += k
    keys[k % 3, 0] = k
    array = (array + array.T).tocsr().tocoo()
data is matrix.data, np.shares_memory(twin.data, data), twin.sum() == matrix.sum(), array.toarray(), grid.toarray()
""",
        library="scipy",
        row=_SPARSE,
    ),
    Program(
        "distributions_and_samplers",
        "Frozen distributions and quasi-random samplers draw what they would have drawn.",
        """
import numpy as np
from scipy import stats
from scipy.stats import qmc
rng = np.random.default_rng(3)
normal, beta = stats.norm(1, 2), stats.beta(2, 3)
beta.random_state = rng
sobol, halton = qmc.Sobol(2, seed=5), qmc.Halton(2, rng=rng)
cube = qmc.LatinHypercube(2, rng=np.random.default_rng(1))
kernel = stats.gaussian_kde(stats.norm.rvs(size=20, random_state=1))
np.random.seed(8)
out = []
for k in range(4):
    out.append((normal.rvs(2), beta.rvs(), sobol.random(2), halton.random(1), cube.random(2)))
    out.append(kernel.resample(1, seed=rng))
beta.random_state is rng, halton.rng is rng
""",
        library="scipy",
        row="SciPy: frozen distributions, qmc samplers",
    ),
    Program(
        "estimators_step_by_step",
        "Estimators that are fitted step by step are the same to the last bit.",
        """
import random
import numpy as np
from sklearn.linear_model import SGDClassifier
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.neural_network import MLPClassifier
random.seed(1)
rng = np.random.RandomState(0)
X = rng.randn(30, 4)
y = (X[:, 0] > 0).astype(int)
online = SGDClassifier(loss="log_loss", random_state=rng)
net = MLPClassifier((5,), random_state=rng)
boosted = GradientBoostingRegressor(n_estimators=2, subsample=0.7, warm_start=True, random_state=rng)
forest = RandomForestClassifier(n_estimators=2, warm_start=True, random_state=4)
scores = []
for k in range(4):
    online.partial_fit(X, y, classes=[0, 1])
    net.partial_fit(X, y, classes=[0, 1])
    boosted.set_params(n_estimators=2 + k).fit(X, y)
    forest.set_params(n_estimators=2 + k).fit(X, y)
    scores.append((online.coef_.sum(), net.loss_, boosted.score(X, y), forest.predict_proba(X)[0, 0], rng.rand()))
online.random_state is rng, net.random_state is rng, scores[-1]
""",
        library="sklearn",
        row=_LEARN,
    ),
    Program(
        "pipelines_and_searches",
        "Pipelines, and the pieces of them that have names of their own, stay one.",
        """
import numpy as np
from sklearn.decomposition import IncrementalPCA
from sklearn.model_selection import KFold, ParameterGrid, ParameterSampler, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
np.random.seed(3)
X = np.random.randn(40, 3)
y = (X.sum(axis=1) > 0).astype(int)
scaler, results = StandardScaler(), {}
model = make_pipeline(scaler, DecisionTreeClassifier(random_state=np.random.RandomState(2)))
for fold, (train, test) in enumerate(KFold(3, shuffle=True).split(X)):
    model.fit(X[train], y[train])
    results[fold] = model.score(X[test], y[test]), scaler.mean_.tolist()
for parameters in ParameterGrid({"max_depth": [1, 2], "min_samples_leaf": [1, 3]}):
    model.set_params(**{f"decisiontreeclassifier__{k}": v for k, v in parameters.items()})
    results[str(parameters)] = cross_val_score(model, X, y, cv=2).mean()
for parameters in ParameterSampler({"max_depth": range(1, 9)}, 3, random_state=1):
    results[f"sampled {parameters}"] = np.random.rand()
model[0] is scaler, results
""",
        library="sklearn",
        row=_LEARN,
        at_least=12,
    ),
]
