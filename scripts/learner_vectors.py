#!/usr/bin/env python3
"""Writes trainer/tests/vectors/learners.json: what scikit-learn makes of a small labeled data set.

    pip install scikit-learn numpy
    python scripts/learner_vectors.py

The tests compare the learners and the metrics that are defined by them with these values. Codes are multiples of 1/1000,
so both sides read the same numbers; learners run to their minimum (tolerance 1e-10) where they stop short by default.
"""

import json
import pathlib

import numpy
import sklearn
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score, roc_auc_score
from sklearn.svm import LinearSVC

SIZES = [3, 2, 5]
TRAIN, TEST = 400, 200
OUTPUT = pathlib.Path(__file__).parent.parent / "trainer/tests/vectors/learners.json"


def codes_and_values(n, rng):
    """Four latents: the first follows factor 0, the second mixes all, the third follows factor 2, the last is noise."""
    values = numpy.stack([rng.integers(0, size, n) for size in SIZES], axis=1)
    a, b, c = values.T
    noise = rng.normal(size=(n, 4))
    codes = numpy.stack(
        [a + 0.4 * noise[:, 0], 0.5 * a + b - 0.3 * c + 0.5 * noise[:, 1], 20 * c + 9 * noise[:, 2], 0.1 * noise[:, 3]],
        axis=1,
    )
    return numpy.round(codes * 1000) / 1000, values


def coarse_codes(values, rng):
    """Two latents of four values: one says factor 0 half of the time, one the sum of the others, else anything.

    For gradient boosting, whose choice between equal splits hangs on rounding and chance: here all pairs of values occur,
    so that no two thresholds part the same points.
    """
    a, b, c = values.T
    says = numpy.stack([a, (b + c) % 4], axis=1)
    return numpy.where(rng.random(says.shape) < 0.5, says, rng.integers(0, 4, says.shape))


def scores(model, x):
    """(n, scores); multinomial scores less their mean over the classes, which does not change probabilities."""
    found = model.decision_function(x)
    return found[:, None] if found.ndim == 1 else found - found.mean(axis=1, keepdims=True)


def logistic(x, y):
    return LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x, y)


def svm(x, y):
    model = LinearSVC(C=0.01, class_weight="balanced", dual=True, tol=1e-10, max_iter=1_000_000, random_state=0)
    return model.fit(x, y)


def entropy(p, base):
    p = (p + 1e-11) / (p + 1e-11).sum(axis=0)
    return -(p * numpy.log(p)).sum(axis=0) / numpy.log(base)


def dci(importances, accuracies):
    latents, factors = importances.shape
    return {
        "disentanglement": float(((1 - entropy(importances.T, factors)) * importances.sum(axis=1)).sum() / factors),
        "completeness": float((1 - entropy(importances, latents)).mean()),
        "informativeness": float(numpy.mean(accuracies)),
    }


def modularity(information):
    squares = information**2
    largest = squares.max(axis=1)
    return float((1 - (squares.sum(axis=1) - largest) / (largest * (squares.shape[1] - 1))).mean())


def main():
    rng = numpy.random.default_rng(5)
    train, train_values = codes_and_values(TRAIN, rng)
    test, test_values = codes_and_values(TEST, rng)
    factors, latents = range(len(SIZES)), range(4)
    result = {
        "scikit_learn": sklearn.__version__,
        "sizes": SIZES,
        "train_codes": train.tolist(),
        "train_values": train_values.tolist(),
        "test_codes": test.tolist(),
        "test_values": test_values.tolist(),
    }
    few = test[:20]
    result["logistic"] = [scores(logistic(train, train_values[:, k]), few).tolist() for k in factors]
    machines = [[svm(train[:, [j]], train_values[:, k]) for k in factors] for j in latents]
    result["svm"] = [
        [numpy.reshape(machine.decision_function(few[:, [j]]), (len(few), -1)).tolist() for machine in machines[j]]
        for j in latents
    ]
    accuracy = numpy.array(
        [[machines[j][k].score(test[:, [j]], test_values[:, k]) for k in factors] for j in latents]
    )
    ordered = numpy.sort(accuracy, axis=0)
    result["sap"] = {"accuracy": accuracy.tolist(), "score": float((ordered[-1] - ordered[-2]).mean())}

    coarse, coarse_test = coarse_codes(train_values, rng), coarse_codes(test_values, rng)
    result["coarse_train_codes"] = coarse.tolist()
    result["coarse_test_codes"] = coarse_test.tolist()
    boosted = [GradientBoostingClassifier(random_state=0).fit(coarse, train_values[:, k]) for k in factors]
    result["boosting"] = [scores(model, coarse_test[:20]).tolist() for model in boosted]
    importances = numpy.stack([model.feature_importances_ for model in boosted], axis=1)
    accuracies = [model.score(coarse_test, test_values[:, k]) for k, model in enumerate(boosted)]
    result["dci"] = dci(importances, accuracies) | {"importances": importances.tolist()}

    mean, deviation = train.mean(axis=0), train.std(axis=0)
    areas = []
    for k in factors:
        of_factor = []
        for value in range(SIZES[k]):
            model = logistic((train - mean) / deviation, train_values[:, k] == value)
            of_factor.append(roc_auc_score(test_values[:, k] == value, model.decision_function((test - mean) / deviation)))
        areas.append(float(numpy.mean(of_factor)))
    result["explicitness"] = {"factors": areas, "score": float(numpy.mean(areas))}

    bins = [numpy.digitize(z, numpy.histogram(z, 20)[1][:-1]) for z in train.T]
    information = numpy.array([[mutual_info_score(y, z) for y in train_values.T] for z in bins])
    result["modularity"] = {"mutual_information": information.tolist(), "score": modularity(information)}

    OUTPUT.parent.mkdir(exist_ok=True)
    with OUTPUT.open("w") as file:
        json.dump(json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 9)), file)
        file.write("\n")


if __name__ == "__main__":
    main()
