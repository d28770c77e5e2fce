"""Kullback–Leibler divergences KL(q ‖ p) = E_q[log q − log p] between the priors of variational HMMs."""

import numpy as np
from numpy.typing import ArrayLike

from seqlab.hmm.inputs import Floats
from seqlab.hmm.special import digamma, gammaln

__all__ = [
    "kl_dirichlet",
    "kl_gamma_distribution",
    "kl_multivariate_normal_distribution",
    "kl_normal_distribution",
    "kl_wishart_distribution",
]


def kl_dirichlet(q: ArrayLike, p: ArrayLike) -> float:
    """Return the divergence of Dirichlet distributions with parameters (…, K), summed over rows.

    KL = log Γ(Σq)/Γ(Σp) − Σ_j log Γ(q_j)/Γ(p_j) + Σ_j (q_j − p_j)(ψ(q_j) − ψ(Σq))        (Beal 2003, appendix A)
    """
    first, second = np.asarray(q, dtype=np.float64), np.asarray(p, dtype=np.float64)
    whole, other = first.sum(axis=-1, keepdims=True), second.sum(axis=-1, keepdims=True)
    slopes = (first - second) * (digamma(first) - digamma(whole))
    return float((gammaln(whole) - gammaln(other)).sum() + (slopes - gammaln(first) + gammaln(second)).sum())


def kl_normal_distribution(mean_q: float, variance_q: float, mean_p: float, variance_p: float) -> float:
    """Return the divergence of normal distributions of one variable."""
    ratio = variance_q / variance_p
    return float(0.5 * (ratio - 1.0 - np.log(ratio) + (mean_q - mean_p) ** 2 / variance_p))


def kl_multivariate_normal_distribution(
    mean_q: ArrayLike, covar_q: ArrayLike, mean_p: ArrayLike, covar_p: ArrayLike
) -> float:
    """Return the divergence of normal distributions with means (D,) and covariances (D, D)."""
    shift = np.asarray(mean_q, dtype=np.float64) - np.asarray(mean_p, dtype=np.float64)
    first, second = np.asarray(covar_q, dtype=np.float64), np.asarray(covar_p, dtype=np.float64)
    ratio = np.linalg.solve(second, first)
    distance = shift @ np.linalg.solve(second, shift)
    return float(0.5 * (np.trace(ratio) - len(shift) - np.linalg.slogdet(ratio)[1] + distance))


def kl_gamma_distribution(b_q: float, c_q: float, b_p: float, c_p: float) -> float:
    """Return the divergence of gamma distributions with shapes b and rates c."""
    return float(
        (b_q - b_p) * digamma(b_q) - gammaln(b_q) + gammaln(b_p)
        + b_p * (np.log(c_q) - np.log(c_p)) + b_q * (c_p - c_q) / c_q
    )  # fmt: skip


def kl_wishart_distribution(dof_q: float, scale_q: ArrayLike, dof_p: float, scale_p: ArrayLike) -> float:
    """Return the divergence of Wishart distributions of a precision, with degrees of freedom and inverse scale (D, D).

    KL = ½ (a − a₀) E log |Λ| − ½ a D + ½ a tr(B₀ B⁻¹) + log Z(a₀, B₀) − log Z(a, B)        (Ji et al. 2006)
    """
    first, second = np.asarray(scale_q, dtype=np.float64), np.asarray(scale_p, dtype=np.float64)
    D = len(first)
    expected = _half_digammas(dof_q, D) - _half_logdet(first)
    return float(
        0.5 * (dof_q - dof_p) * expected
        - 0.5 * dof_q * D
        + 0.5 * dof_q * np.trace(np.linalg.solve(first, second))
        + _log_normaliser(dof_p, second)
        - _log_normaliser(dof_q, first)
    )


def _half_logdet(scale: Floats) -> float:
    return float(np.linalg.slogdet(scale / 2.0)[1])


def _half_digammas(dof: float, D: int) -> float:
    return float(digamma((dof - np.arange(D)) / 2.0).sum())


def _log_normaliser(dof: float, scale: Floats) -> float:
    D = len(scale)
    constant = D * (D - 1) / 4.0 * np.log(np.pi)
    return float(constant - dof / 2.0 * _half_logdet(scale) + gammaln((dof - np.arange(D)) / 2.0).sum())
