#!/usr/bin/env python3
"""Writes trainer/tests/vectors/metrics.json: scores of small random representations by plain numpy, scipy and scikit-learn.

The protocols are written down anew here, after the papers and disentanglement_lib's definitions, for
trainer/tests/metric_vectors.rs to hold the Rust metrics against. Run it after changing a protocol:

    python3 -m venv venv && venv/bin/pip install numpy scipy scikit-learn
    venv/bin/python scripts/metric_vectors.py trainer/tests/vectors/metrics.json
"""
import json
import sys

import numpy as np
import scipy.linalg
import scipy.stats
from sklearn.linear_model import Lasso
from sklearn.metrics import mutual_info_score

BINS = 20


def bins(values):
    """np.histogram's bins; the greatest value belongs to the last one."""
    edges = np.histogram(values, BINS)[1]
    return np.digitize(values, edges[:-1])


def mig(codes, factors):
    information = np.array([[mutual_info_score(bins(z), v) for v in factors.T] for z in codes.T])
    entropy = np.array([mutual_info_score(v, v) for v in factors.T])
    ordered = np.sort(information, axis=0)[::-1]
    return {"score": np.mean((ordered[0] - ordered[1]) / entropy), "mutual_information": information.tolist()}


def irs(codes, factors, quantile=0.99):
    discrete = np.stack([bins(v) for v in factors.T], axis=1)
    codes = codes[:, codes.var(axis=0) > 0]
    greatest = np.abs(codes - codes.mean(axis=0)).max(axis=0)
    spread = np.zeros((codes.shape[1], factors.shape[1]))
    for k in range(factors.shape[1]):
        values = np.unique(discrete[:, k])
        for value in values:
            group = codes[discrete[:, k] == value]
            spread[:, k] += np.quantile(np.abs(group - group.mean(axis=0)), quantile, axis=0) / len(values)
    robustness = 1 - spread / greatest[:, None]
    return {"score": np.average(robustness.max(axis=1), weights=greatest), "deviations": greatest.tolist()}


def covariance_scores(codes):
    cov = np.cov(codes.T)
    root = scipy.linalg.sqrtm(cov * np.diag(cov)[:, None])
    wasserstein = float(np.real(2 * np.trace(cov) - 2 * np.trace(root)))
    return {
        "gaussian_tc": 0.5 * (np.sum(np.log(np.diag(cov))) - np.linalg.slogdet(cov)[1]),
        "wasserstein": wasserstein,
        "wasserstein_normalized": wasserstein / np.trace(cov),
    }


def pairwise(codes):
    m = codes.shape[1]
    discrete = [bins(z) for z in codes.T]
    return sum(mutual_info_score(discrete[i], discrete[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))


def standardized(codes):
    return (codes - codes.mean(axis=0)) / codes.std(axis=0)


def strength(matrix):
    by_column = np.nan_to_num(matrix.max(axis=0) ** 2 / matrix.sum(axis=0))
    by_row = np.nan_to_num(matrix.max(axis=1) ** 2 / matrix.sum(axis=1))
    return (by_column.mean() + by_row.mean()) / 2


def udr(models, similarity):
    models = [standardized(codes) for codes in models]

    def matrix(a, b):
        if similarity == "lasso":
            return np.abs(Lasso(alpha=0.1, tol=1e-12, max_iter=100_000).fit(a, b).coef_.T)
        return np.abs([[scipy.stats.spearmanr(x, y)[0] for y in b.T] for x in a.T])

    n = range(len(models))
    agreements = np.array([[strength(matrix(models[i], models[j])) if i != j else 0.0 for j in n] for i in n])
    return {
        "agreements": agreements.tolist(),
        "scores": [float(np.median(np.delete(agreements[:, i], i))) for i in n],
    }


def main(path):
    rng = np.random.default_rng(5)
    sizes = [3, 6, 40]
    n = 240
    factors = np.stack([rng.integers(0, size, n) for size in sizes], axis=1)
    scaled = factors / np.array(sizes) - 0.5
    # Some latents follow a factor, some several, some with noise; two decimals keep the file small and binning exact.
    mixing = np.array([[2.0, 0.1, 0.0, 0.6], [0.0, -1.5, 0.3, 0.6], [0.1, 0.2, 1.0, 0.9]])
    codes = [
        np.round(scaled @ mixing @ np.diag(scale) + noise * rng.standard_normal((n, 4)), 2)
        for scale, noise in [([1, 1, 2, 1], 0.1), ([1, 3, 1, 0.5], 0.3), ([0.2, 1, 1, 1], 0.05)]
    ]
    # The codes that the Rust side reads are f32.
    codes = [c.astype(np.float32).astype(np.float64) for c in codes]
    expected = [
        {
            "mig": mig(c, factors),
            "irs": irs(c, factors),
            **covariance_scores(c),
            "pairwise": pairwise(c),
        }
        for c in codes
    ]
    vectors = {
        "sizes": sizes,
        "factors": factors.tolist(),
        "codes": [[[round(float(z), 2) for z in row] for row in c] for c in codes],
        "expected": expected,
        "udr_lasso": udr(codes, "lasso"),
        "udr_spearman": udr(codes, "spearman"),
    }
    with open(path, "w") as file:
        json.dump(vectors, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
