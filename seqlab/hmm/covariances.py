"""Gaussian densities and moments for the four kinds of covariance.

    "spherical": (G,), one variance for each Gaussian         "diag": (G, D), one for each feature
    "full": (G, D, D), a matrix for each                      "tied": (D, D), one matrix for all

All work on N rows and G Gaussians, compiled where Numba is at hand (`gaussian_kernels`) and Gaussian by Gaussian
elsewhere; nothing of size N × G × D is ever kept.
"""

import numpy as np
from numpy.typing import ArrayLike

from seqlab import kernels
from seqlab.errors import ShapeError
from seqlab.hmm.inputs import Floats

__all__ = [
    "COVARIANCE_TYPES",
    "check_type",
    "checked_covars",
    "column_sums",
    "data_covariance",
    "fill_covars",
    "log_density",
    "mahalanobis",
    "scatter",
    "spread_covariance",
    "weighted_moments",
]

COVARIANCE_TYPES = frozenset(("spherical", "diag", "full", "tied"))
# Moments are summed in this many parts, whatever the number of threads, so that the sum is always the same.
PARTS = 16
# Added to the diagonal of a matrix that is singular within rounding.
JITTER = 1e-7
LOG_TWO_PI = float(np.log(2 * np.pi))


def check_type(covariance_type: str) -> None:
    """Raise ShapeError for an unknown kind of covariance."""
    if covariance_type not in COVARIANCE_TYPES:
        raise ShapeError(f"covariance_type must be one of {sorted(COVARIANCE_TYPES)}, got {covariance_type!r}")


def log_density(X: Floats, means: Floats, covars: Floats, covariance_type: str) -> Floats:
    """Return log N(x_n; μ_g, Σ_g) = −½ (D log 2π + log |Σ_g| + (x_n − μ_g)ᵀ Σ_g⁻¹ (x_n − μ_g)), (N, G).

    Args:
        X: (N, D).
        means: (G, D).
        covars: as the module says.
        covariance_type: one of the four.

    Raises:
        ShapeError: a matrix is not positive definite.
    """
    roots = _roots(covars, means.shape, covariance_type)
    return _half_distances(X, means, roots, means.shape[1] * LOG_TWO_PI + _log_determinant(roots))


def mahalanobis(X: Floats, means: Floats, covars: Floats, covariance_type: str) -> Floats:
    """Return (x_n − μ_g)ᵀ Σ_g⁻¹ (x_n − μ_g), (N, G). Arguments and errors as in `log_density`."""
    roots = _roots(covars, means.shape, covariance_type)
    return np.asarray(-2.0 * _half_distances(X, means, roots, np.zeros(len(means))))


def _roots(covars: Floats, shape: tuple[int, ...], covariance_type: str) -> Floats:
    """Return square roots of the covariances: (G, D) of variances, or (G, D, D) lower Cholesky factors."""
    G, D = shape  # Gaussians, features
    if covariance_type in ("spherical", "diag"):
        variances = np.broadcast_to(covars[:, None] if covars.ndim == 1 else covars, (G, D))
        return np.sqrt(np.maximum(variances, np.finfo(float).tiny))
    try:
        factors = np.linalg.cholesky(covars)
    except np.linalg.LinAlgError:
        try:
            factors = np.linalg.cholesky(covars + JITTER * np.eye(D))
        except np.linalg.LinAlgError:
            raise ShapeError("covars must be symmetric and positive definite, got a matrix that is not") from None
    return np.broadcast_to(factors, (G, D, D))


def _log_determinant(roots: Floats) -> Floats:
    """Return log |Σ_g|, (G,), from square roots of the covariances."""
    diagonals = roots if roots.ndim == 2 else np.diagonal(roots, axis1=1, axis2=2)
    return np.asarray(2.0 * np.log(diagonals).sum(axis=1))


def _half_distances(X: Floats, means: Floats, roots: Floats, constant: Floats) -> Floats:
    """Whiten the rows for each Gaussian, z = L⁻¹ x − L⁻¹ μ, and return −½ (|z|² + constant), (N, G).

    Whitening first loses less to cancellation than expanding the square when means are large beside deviations.
    """
    (N, D), G = X.shape, len(means)
    whiten: Floats
    if roots.ndim == 2:
        whiten, shift = np.ascontiguousarray(1.0 / roots), means / roots  # (G, D), (G, D)
    else:
        whiten = np.asarray(np.linalg.solve(roots, np.broadcast_to(np.eye(D), roots.shape)))  # (G, D, D), L⁻¹
        shift = np.einsum("gij,gj->gi", whiten, means)
    if not kernels.enabled():
        return _half_distances_by_gaussian(X, whiten, shift, constant)
    from seqlab.hmm import gaussian_kernels

    kernel = gaussian_kernels.diagonal_density if whiten.ndim == 2 else gaussian_kernels.full_density
    result, blocks = np.empty((N, G)), -(-N // gaussian_kernels.LANES)
    kernels.run(kernel, blocks, float(N * whiten.size), np.ascontiguousarray(X), whiten, shift, constant, result)
    return result


def _half_distances_by_gaussian(X: Floats, whiten: Floats, shift: Floats, constant: Floats) -> Floats:
    result = np.empty((len(X), len(shift)))
    with np.errstate(over="ignore"):
        for g, factor in enumerate(whiten):
            z = (X * factor if whiten.ndim == 2 else X @ factor.T) - shift[g]  # (N, D)
            result[:, g] = -0.5 * (np.einsum("nd,nd->n", z, z) + constant[g])
    return result


def column_sums(X: Floats) -> Floats:
    """Return the sums over the rows, (D,): 64 rows at a time, several times as fast as numpy alone where D is small."""
    whole = len(X) - len(X) % 64
    wide = X[:whole].reshape(-1, 64 * X.shape[1]).sum(axis=0)
    return np.asarray(wide.reshape(64, -1).sum(axis=0) + X[whole:].sum(axis=0))


def weighted_moments(weights: Floats, X: Floats, centre: Floats, covariance_type: str) -> tuple[Floats, Floats]:
    """Return Σ_n w_ng (x_n − c), (G, D), and Σ_n w_ng (x_n − c)(x_n − c)ᵀ, (G, D, D), or its diagonals, (G, D).

    Args:
        weights: (N, G).
        X: (N, D).
        centre: c, (D,).
        covariance_type: one of the four; matrices for "full" and "tied".
    """
    (N, D), G = X.shape, weights.shape[1]
    full = covariance_type in ("full", "tied")
    if not kernels.enabled():
        centred = X - centre
        if not full:
            return weights.T @ centred, weights.T @ (centred * centred)
        return weights.T @ centred, np.array([centred.T @ (centred * column[:, None]) for column in weights.T])
    from seqlab.hmm import gaussian_kernels

    sums, squares = np.zeros((PARTS, G, D)), np.zeros((PARTS, G, D, D))
    work = float(N * G * D * (D if full else 2))
    rows, shares = np.ascontiguousarray(X), np.ascontiguousarray(weights)
    kernels.run(gaussian_kernels.moments, PARTS, work, shares, rows, centre, full, sums, squares)
    second = squares.sum(axis=0)
    if not full:
        return sums.sum(axis=0), np.ascontiguousarray(second.diagonal(axis1=1, axis2=2))
    return sums.sum(axis=0), second + np.tril(second, -1).transpose(0, 2, 1)


def scatter(second: Floats, sums: Floats, totals: Floats, means: Floats) -> Floats:
    """Return Σ w (x − μ)(x − μ)ᵀ, or its diagonal, from Σ w x xᵀ, Σ w x (G, D), Σ w (G,) and μ (G, D)."""
    if second.ndim == 2:
        return np.maximum(second - 2 * means * sums + means**2 * totals[:, None], 0.0)
    cross = sums[:, :, None] * means[:, None, :]
    squares = means[:, :, None] * means[:, None, :] * totals[:, None, None]
    return np.asarray(second - cross - cross.transpose(0, 2, 1) + squares)


def fill_covars(covars: ArrayLike, covariance_type: str = "full", n_components: int = 1, n_features: int = 1) -> Floats:
    """Return covariances of any kind as matrices, (n_components, n_features, n_features)."""
    values, eye = np.asarray(covars), np.eye(n_features, dtype=np.asarray(covars).dtype)
    if covariance_type == "full":
        return values
    if covariance_type == "tied":
        return np.tile(values, (n_components, 1, 1))
    if covariance_type == "diag":
        return np.asarray(values[:, :, None] * eye)
    return np.asarray(values.reshape(-1, 1, 1) * eye)


def spread_covariance(covariance: Floats, covariance_type: str, n_components: int) -> Floats:
    """Return one (D, D) covariance as the starting point of every Gaussian, in the shape of its kind."""
    check_type(covariance_type)
    if covariance_type == "spherical":
        return np.full(n_components, covariance.diagonal().mean())
    if covariance_type == "tied":
        return covariance.copy()
    if covariance_type == "diag":
        return np.tile(covariance.diagonal(), (n_components, 1))
    return np.tile(covariance, (n_components, 1, 1))


def checked_covars(covars: ArrayLike, covariance_type: str, n_components: int) -> Floats:
    """Return covariances as float64 in the shape of their kind.

    Raises:
        ShapeError: the kind, the shape or a value is wrong.
    """
    check_type(covariance_type)
    values = np.array(covars, dtype=np.float64)
    expected = {"spherical": None, "diag": 2, "full": 3, "tied": 2}[covariance_type]
    if expected is not None and values.ndim != expected:
        raise ShapeError(f"{covariance_type} covars must have {expected} dimensions, got shape {values.shape}")
    if covariance_type != "tied" and len(np.atleast_1d(values)) != n_components:
        raise ShapeError(f"{covariance_type} covars must be {n_components} in number, got shape {values.shape}")
    if covariance_type in ("spherical", "diag"):
        if values.size == 0 or not (values > 0).all():
            raise ShapeError(f"{covariance_type} covars must be positive, got {values}")
        return values.reshape(n_components, -1).mean(axis=1) if covariance_type == "spherical" else values
    if values.shape[-1] != values.shape[-2] or not np.isfinite(values).all():
        raise ShapeError(f"{covariance_type} covars must be square matrices of numbers, got shape {values.shape}")
    if not np.allclose(values, values.swapaxes(-1, -2)) or (np.linalg.eigvalsh(values) <= 0).any():
        raise ShapeError(f"{covariance_type} covars must be symmetric and positive definite, got {values}")
    return values


def data_covariance(X: Floats) -> Floats:
    """Return the (D, D) covariance of the rows; of a single row zeros."""
    if len(X) < 2:
        return np.zeros((X.shape[1], X.shape[1]))
    return np.atleast_2d(np.cov(X.T))
