"""How kernels share out their rows, and the vectors they compute with."""

import multiprocessing
import os
import threading

import numpy as np
import pytest
import torch

from seqlab import kernels
from seqlab.errors import ConfigError


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def count_rows(rows, work):
    seen, names, lock = np.zeros(rows, int), set(), threading.Lock()

    def kernel(begin, end, array):
        with lock:
            names.add(threading.current_thread().name)
        array[begin:end] += 1

    kernels.run(kernel, rows, work, seen)
    return seen, names


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 9, 1000])
@pytest.mark.parametrize("work", [1.0, 1e12])
@pytest.mark.usefixtures("two_threads")
def test_each_row_is_done_once(rows, work):
    seen, names = count_rows(rows, work)
    assert (seen == 1).all()
    if work == 1.0:
        assert names == {threading.current_thread().name}


@pytest.mark.usefixtures("two_threads")
def test_a_helper_does_its_part_and_hands_its_error_on():
    met = threading.Barrier(2, timeout=20)

    def kernel(begin, end):
        met.wait()  # passes only if two threads are here at once
        if threading.current_thread().name.startswith("seqlab"):
            raise ValueError("from a helper")

    with pytest.raises(ValueError, match="from a helper"):
        kernels.run(kernel, 2, 1e12)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
@pytest.mark.usefixtures("two_threads")
def test_helpers_are_kept_off_the_callers_processor():
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("needs two processors")
    try:
        count_rows(8, 1e12)  # starts them
        for processor in sorted(allowed)[:2]:
            os.sched_setaffinity(0, {processor})
            os.sched_setaffinity(0, allowed)
            met = threading.Barrier(2, timeout=20)
            found = {}

            def kernel(begin, end, met=met, found=found):
                met.wait()
                found[threading.current_thread().name] = os.sched_getaffinity(0)

            kernels.run(kernel, 2, 1e12)
            helper = next(mask for name, mask in found.items() if name.startswith("seqlab"))
            assert len(helper) == len(allowed) - 1
    finally:
        os.sched_setaffinity(0, allowed)


def child(queue):
    torch.set_num_threads(2)
    queue.put(int(count_rows(100, 1e12)[0].sum()))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_helpers_of_its_own():
    count_rows(100, 1e12)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    assert queue.get(timeout=60) == 100
    process.join(timeout=60)
    assert process.exitcode == 0


def test_an_unknown_backend():
    with pytest.raises(ConfigError, match="SEQLAB_BACKEND must be one of"), kernels.use_backend("fortran"):
        pass


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors(dtype):
    pytest.importorskip("numba", reason="pip install 'seqlab[numba]'")
    import numba

    from seqlab import vector_kernels as v

    @numba.njit
    def compute(x, y, out):
        left, right = v.load(x, 1), v.load(y, 0)
        v.store(out, 0, v.add(left, right))
        v.store(out, 8, v.multiply(left, right))
        v.store(out, 16, v.multiply_add(left, y[3], right))
        v.store(out, 24, v.larger(left, right))
        v.store(out, 32, v.fill(x[2]))
        bits = v.equal_bits(right, y[5]), v.not_below_bits(right, y[2])
        return v.total(left), v.largest(left), bits, (v.first_bit(0b101000), v.last_bit(0b101000))

    draw = np.random.default_rng(0)
    x, y, out = draw.normal(size=9).astype(dtype), draw.normal(size=8).astype(dtype), np.empty(40, dtype)
    y[6] = np.nan
    total, largest, (equal, not_below), places = compute(x, y, out)
    assert places == (3, 5)
    expected = [x[1:] + y, x[1:] * y, x[1:] + y[3] * y, np.where(x[1:] > y, x[1:], y), np.full(8, x[2])]
    np.testing.assert_allclose(out.reshape(5, 8), expected, rtol=1e-6)
    assert total == pytest.approx(x[1:].sum(), rel=1e-5)
    assert largest == x[1:].max()
    assert equal == 1 << 5
    assert not_below == sum(1 << k for k in range(8) if not y[k] < y[2])
