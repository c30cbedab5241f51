"""Optuna: studies in memory."""

from programs.harness import Program

_ROW = "Optuna: studies in memory, with their samplers and pruners"
_QUIET = """
import optuna
optuna.logging.set_verbosity(optuna.logging.WARNING)
"""

PROGRAMS = [
    Program(
        "ask_and_tell",
        "A study suggests what it would have suggested, whichever sampler it has.",
        _QUIET
        + """
samplers = [optuna.samplers.TPESampler(seed=1, n_startup_trials=2), optuna.samplers.RandomSampler(seed=2)]
studies = [optuna.create_study(sampler=sampler, study_name=f"s{n}") for n, sampler in enumerate(samplers)]
out = []
for k in range(4):
    for study in studies:
        trial = study.ask()
        x = trial.suggest_float("x", -5, 5)
        kind = trial.suggest_categorical("kind", ["a", "b"])
        trial.set_user_attr("k", k)
        study.tell(trial, x**2 + (kind == "a"))
        out.append((x, kind))
[(study.best_value, study.best_params, len(study.trials)) for study in studies], samplers[0] is studies[0].sampler
""",
        library="optuna",
        row=_ROW,
        loose=frozenset({"stderr"}),  # the log tells the time
        at_least=12,
    ),
    Program(
        "a_trial_an_iteration",
        "optimize() in a loop goes on with the next trial, pruning and the best value so far included.",
        _QUIET
        + """
def objective(trial):
    x = trial.suggest_int("x", 0, 20)
    y = trial.suggest_float("y", 1e-3, 1, log=True)
    for step in range(3):
        trial.report(x * y + step, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return x * y
tpe, nsga = optuna.samplers.TPESampler(seed=3, n_startup_trials=2), optuna.samplers.NSGAIISampler(seed=4)
study = optuna.create_study(study_name="one", sampler=tpe, pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
many = optuna.create_study(study_name="many", directions=["minimize", "maximize"], sampler=nsga)
for n in range(6):
    study.optimize(objective, n_trials=1)
    many.optimize(lambda trial: (trial.suggest_float("z", 0, 1), trial.suggest_float("w", 0, 1)), n_trials=1)
[(t.number, t.state.name, t.params, t.value) for t in study.trials], [t.params for t in many.best_trials]
""",
        library="optuna",
        row=_ROW,
        loose=frozenset({"stderr"}),  # the log tells the time
    ),
]
