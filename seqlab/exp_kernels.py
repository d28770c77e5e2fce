"""An exponential that LLVM turns into vector code, for Numba kernels; libm's would be called number by number.

exp(x) = 2^n · exp(r) with n the integer nearest to x / log 2, and |r| ≤ log(2)/2 taken by a polynomial: Cephes'
for float32 (Moshier 1989), Taylor's up to r^13 for float64. The relative error is below 2e-7 and 1e-15. Below the
smallest normal number the result is exactly 0; NaN stays NaN. Arguments above 0 are not what it is made for, but
work up to the largest finite result.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

__all__ = ["fast_exp"]

f32, f64 = np.float32, np.float64
OPTIONS = {"inline": "never", "fastmath": {"contract", "nsz"}, "error_model": "numpy", "nogil": True}
FACTORIALS = [1.0]
for _n in range(1, 14):
    FACTORIALS.append(FACTORIALS[-1] * _n)
(C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13) = (1.0 / f for f in FACTORIALS[2:])


@intrinsic  # type: ignore[untyped-decorator]
def _float32_of_bits(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic  # type: ignore[untyped-decorator]
def _float64_of_bits(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@njit(**OPTIONS)  # type: ignore[untyped-decorator]
def _exp32(x: Any) -> Any:
    kept = f32(-87.0) if x < f32(-87.0) else x
    n = np.int32(np.int32(kept * f32(1.44269504) + f32(200.5)) - np.int32(200))  # rounds to nearest for x > −138
    shift = f32(n)
    r = kept - shift * f32(0.693359375)
    r = r + shift * f32(2.12194440e-4)
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    p = p * r * r + r + f32(1.0)
    p = p * _float32_of_bits(np.int32(np.int32(n + np.int32(127)) << np.int32(23)))
    return f32(0.0) if x < f32(-87.0) else p


@njit(**OPTIONS)  # type: ignore[untyped-decorator]
def _exp64(x: Any) -> Any:
    kept = f64(-708.0) if x < f64(-708.0) else x
    n = np.int32(np.int32(kept * 1.4426950408889634 + 2000.5) - np.int32(2000))
    shift = f64(n)
    r = kept - shift * 6.93145751953125e-1
    r = r - shift * 1.42860682030941723212e-6
    p = C13
    p = p * r + C12
    p = p * r + C11
    p = p * r + C10
    p = p * r + C9
    p = p * r + C8
    p = p * r + C7
    p = p * r + C6
    p = p * r + C5
    p = p * r + C4
    p = p * r + C3
    p = p * r + C2
    p = p * r * r + r + 1.0
    p = p * _float64_of_bits((np.int64(n) + np.int64(1023)) << np.int64(52))
    return f64(0.0) if x < f64(-708.0) else p


def fast_exp(x: Any) -> Any:
    """Return exp(x) in the type of x; callable from kernels only."""
    raise NotImplementedError("fast_exp is for compiled kernels")


@overload(fast_exp, inline="never", jit_options={"fastmath": {"contract", "nsz"}, "error_model": "numpy"})  # type: ignore[untyped-decorator]
def _fast_exp(x: Any) -> Any:
    chosen = _exp32 if x == types.float32 else _exp64

    def call(x: Any) -> Any:
        return chosen(x)

    return call
