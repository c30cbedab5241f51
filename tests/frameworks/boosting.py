"""XGBoost and LightGBM: boosters that a loop grows round by round."""

from programs.harness import Program

_DATA = """
import numpy as np
rng = np.random.default_rng(1)
X = rng.normal(size=(60, 4)).astype("float32")
y = (X[:, 0] + 0.3 * rng.normal(size=60) > 0).astype(int)
"""

PROGRAMS = [
    Program(
        "xgboost_round_by_round",
        "A booster that grows by a round an iteration is the same, tree by tree, and its matrix is there again.",
        _DATA
        + """
import xgboost as xgb
train = xgb.DMatrix(X, label=y, weight=np.linspace(1, 2, 60), feature_names=list("abcd"))
hold = xgb.DMatrix(X[:20], label=y[:20])
hold.feature_names = list("abcd")
parameters = {"objective": "binary:logistic", "max_depth": 2, "nthread": 1, "eval_metric": "logloss"}
booster, scores = xgb.Booster(parameters, [train, hold]), []
for k in range(4):
    booster.update(train, k)
    scores.append(booster.eval_set([(train, "train"), (hold, "hold")], k))
best = booster.copy()
booster.num_boosted_rounds(), train.num_row(), train.get_weight().sum(), scores, booster.get_dump()
""",
        every=3,
        library="xgboost",
        row="XGBoost: Booster, DMatrix, without sampling",
    ),
    Program(
        "xgboost_train_again_and_again",
        "Continued training, the scikit-learn interface and its early stopping go on as they were.",
        _DATA
        + """
import xgboost as xgb
model, matrix, history = None, xgb.DMatrix(X, label=y), []
estimator = xgb.XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1, early_stopping_rounds=2)
for k in range(3):
    seen = {}
    model = xgb.train({"max_depth": 2, "nthread": 1}, matrix, 2, xgb_model=model, evals=[(matrix, "t")],
                      evals_result=seen, verbose_eval=False)
    history.append(seen["t"]["rmse"])
    estimator.fit(X, y, eval_set=[(X[:20], y[:20])], verbose=False, xgb_model=estimator if k else None)
history, estimator.predict_proba(X[:3]), estimator.best_iteration, model.num_boosted_rounds()
""",
        every=3,
        library="xgboost",
        row="XGBoost: Booster, DMatrix, without sampling",
    ),
    Program(
        "lightgbm_round_by_round",
        "A booster that grows by a round an iteration is the same, tree by tree.",
        _DATA
        + """
import lightgbm as lgb
parameters = {"objective": "binary", "num_leaves": 4, "min_data_in_leaf": 5, "num_threads": 1, "verbose": -1,
              "deterministic": True}
train = lgb.Dataset(X, label=y, free_raw_data=False)
booster, scores = lgb.Booster(parameters, train), []
booster.add_valid(lgb.Dataset(X[:20], label=y[:20], reference=train, free_raw_data=False), "hold")
for k in range(4):
    booster.update()
    scores.append((booster.eval_train(), booster.eval_valid()))
booster.current_iteration(), scores, booster.predict(X[:3])
""",
        every=3,
        library="lightgbm",
        row="LightGBM: Booster, Dataset, without sampling",
    ),
    Program(
        "lightgbm_train_again_and_again",
        "Continued training and the scikit-learn interface go on as they were.",
        _DATA
        + """
import lightgbm as lgb
parameters = {"objective": "binary", "num_leaves": 4, "min_data_in_leaf": 5, "num_threads": 1, "verbose": -1}
model, scores = None, []
data = lgb.Dataset(X, y, free_raw_data=False)
estimator = lgb.LGBMClassifier(n_estimators=2, num_leaves=4, n_jobs=1, verbose=-1)
for k in range(3):
    model = lgb.train(parameters, data, 2, init_model=model, keep_training_booster=k == 1)
    estimator.fit(X, y, init_model=estimator.booster_ if k else None)
    scores.append(estimator.predict_proba(X[:2]).tolist())
model.num_trees(), scores, model.predict(X[:3])
""",
        every=3,
        library="lightgbm",
        row="LightGBM: Booster, Dataset, without sampling",
    ),
    Program(
        "xgboost_with_sampling",
        "A booster that samples rows goes on with as many rounds and as good; which rows, XGBoost draws anew.",
        _DATA
        + """
import xgboost as xgb
matrix = xgb.DMatrix(X, label=y)
booster = xgb.Booster({"objective": "binary:logistic", "subsample": 0.7, "nthread": 1}, [matrix])
for k in range(4):
    booster.update(matrix, k)
booster.num_boosted_rounds(), bool(((booster.predict(matrix) > 0.5) == y).mean() > 0.7)
""",
        unsaved=frozenset({"booster"}),
        every=3,
        library="xgboost",
        row="XGBoost: Booster, with sampling",
        exact="statistical",
    ),
    Program(
        "lightgbm_with_sampling",
        "A booster that samples rows goes on with as many rounds and as good; which rows, LightGBM draws anew.",
        _DATA
        + """
import lightgbm as lgb
parameters = {"objective": "binary", "num_leaves": 4, "min_data_in_leaf": 5, "num_threads": 1, "verbose": -1}
data = lgb.Dataset(X, label=y, free_raw_data=False)
booster = lgb.Booster({**parameters, "bagging_fraction": 0.7, "bagging_freq": 1}, data)
for k in range(4):
    booster.update()
booster.current_iteration(), bool(((booster.predict(X) > 0.5) == y).mean() > 0.7)
""",
        unsaved=frozenset({"booster"}),
        every=3,
        library="lightgbm",
        row="LightGBM: Booster, with sampling",
        exact="statistical",
    ),
]
