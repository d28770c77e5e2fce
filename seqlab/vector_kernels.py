"""Eight numbers at a time, for Numba kernels: loads, stores and arithmetic of a vector that stays in registers.

LLVM turns a loop over a row into vector code by itself, but it has to guard it for rows of any length and arrays that
overlap; for the few dozen numbers of a chain's step the guards take longer than the sums. A `Vector` has eight
float32 or float64 whatever the machine: LLVM splits it to the width that is there. Arrays are one-dimensional and
C-contiguous; the caller sees to it that eight numbers lie at `index`.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

__all__ = [
    "WIDTH",
    "add",
    "equal_bits",
    "fill",
    "first_bit",
    "larger",
    "largest",
    "last_bit",
    "load",
    "multiply",
    "multiply_add",
    "not_below_bits",
    "store",
    "total",
]

WIDTH = 8
FUSED = ("contract", "nsz")  # a product and a sum may become one instruction


class Vector(types.Type):  # type: ignore[misc]
    """Eight numbers of type `dtype`."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(f"Vector({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: Any) -> None:
        number = ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, vector, ir.VectorType(number, WIDTH))


def _pointer(context: Any, builder: Any, kinds: Any, arguments: Any, vector: Any) -> Any:
    data = context.make_array(kinds[0])(context, builder, arguments[0]).data
    address = builder.gep(data, [arguments[1]])
    return builder.bitcast(address, context.get_value_type(vector).as_pointer())


def _spread(context: Any, builder: Any, number: Any, vector: Any) -> Any:
    """Return the vector that holds `number` eight times."""
    kind, index = context.get_value_type(vector), ir.IntType(32)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(index, 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(index, WIDTH), [0] * WIDTH))


@intrinsic  # type: ignore[untyped-decorator]
def load(typing_context: Any, array: Any, index: Any) -> Any:
    """Return array[index : index + 8]."""
    vector = Vector(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _pointer(context, builder, signature.args, arguments, vector)
        return builder.load(address, align=array.dtype.bitwidth // 8)

    return vector(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def store(typing_context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write a vector to array[index : index + 8]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _pointer(context, builder, signature.args, arguments, vector)
        builder.store(arguments[2], address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic  # type: ignore[untyped-decorator]
def fill(typing_context: Any, number: Any) -> Any:
    """Return a vector of eight times the same number."""
    vector = Vector(number)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread(context, builder, arguments[0], vector)

    return vector(number), generate


@intrinsic  # type: ignore[untyped-decorator]
def add(typing_context: Any, left: Any, right: Any) -> Any:
    """Return left + right."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(*arguments, flags=FUSED)

    return left(left, left), generate


@intrinsic  # type: ignore[untyped-decorator]
def multiply(typing_context: Any, left: Any, right: Any) -> Any:
    """Return left · right."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fmul(*arguments, flags=FUSED)

    return left(left, left), generate


@intrinsic  # type: ignore[untyped-decorator]
def multiply_add(typing_context: Any, vector: Any, number: Any, factor: Any) -> Any:
    """Return vector + number · factor, the number being one for all."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        spread = _spread(context, builder, arguments[1], vector)
        return builder.fadd(arguments[0], builder.fmul(spread, arguments[2], flags=FUSED), flags=FUSED)

    return vector(vector, vector.dtype, vector), generate


@intrinsic  # type: ignore[untyped-decorator]
def larger(typing_context: Any, left: Any, right: Any) -> Any:
    """Return the larger of each two; right where one is NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return left(left, left), generate


@intrinsic  # type: ignore[untyped-decorator]
def total(typing_context: Any, vector: Any) -> Any:
    """Return the sum of the eight."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _fold(builder, arguments[0], lambda left, right: builder.fadd(left, right, flags=FUSED))

    return vector.dtype(vector), generate


@intrinsic  # type: ignore[untyped-decorator]
def largest(typing_context: Any, vector: Any) -> Any:
    """Return the largest of the eight; of no meaning where one is NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _fold(
            builder,
            arguments[0],
            lambda left, right: builder.select(builder.fcmp_ordered(">", left, right), left, right),
        )

    return vector.dtype(vector), generate


def _fold(builder: Any, vector: Any, join: Any) -> Any:
    """Join the two halves of a vector until one number is left."""
    index = ir.IntType(32)
    for half in (4, 2, 1):
        kind = ir.VectorType(index, half)
        parts = (ir.Constant(kind, list(range(first, first + half))) for first in (0, half))
        vector = join(*(builder.shuffle_vector(vector, vector, part) for part in parts))
    return builder.extract_element(vector, ir.Constant(index, 0))


@intrinsic  # type: ignore[untyped-decorator]
def equal_bits(typing_context: Any, vector: Any, number: Any) -> Any:
    """Return an integer with bit k set where vector[k] == number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        same = builder.fcmp_ordered("==", arguments[0], _spread(context, builder, arguments[1], vector))
        return builder.zext(builder.bitcast(same, ir.IntType(WIDTH)), ir.IntType(64))

    return types.int64(vector, vector.dtype), generate


@intrinsic  # type: ignore[untyped-decorator]
def not_below_bits(typing_context: Any, vector: Any, number: Any) -> Any:
    """Return an integer with bit k set unless vector[k] < number: so also where one is NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wrong = builder.fcmp_unordered(">=", arguments[0], _spread(context, builder, arguments[1], vector))
        return builder.zext(builder.bitcast(wrong, ir.IntType(WIDTH)), ir.IntType(64))

    return types.int64(vector, vector.dtype), generate


@intrinsic  # type: ignore[untyped-decorator]
def first_bit(typing_context: Any, bits: Any) -> Any:
    """Return the number of the lowest bit that is set; of no meaning for 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def last_bit(typing_context: Any, bits: Any) -> Any:
    """Return the number of the highest bit that is set; of no meaning for 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros = builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))
        return builder.sub(ir.Constant(ir.IntType(64), 63), zeros)

    return types.int64(types.int64), generate
