"""hmmlearn's own tests, run against `seqlab.hmm`: the installed files are copied and only their imports changed."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

peer = pytest.importorskip("hmmlearn.hmm", reason="pip install hmmlearn scikit-learn scipy")
pytest.importorskip("sklearn", reason="pip install scikit-learn")

ROOT = Path(__file__).parents[2]
IMPORTS = [
    (r"^from hmmlearn import _kl_divergence as _kl$", "from seqlab.hmm import divergences as _kl"),
    (r"^from hmmlearn import _hmmc$", ""),
    (r"^from hmmlearn import hmm, vhmm$", "from seqlab import hmm; vhmm = hmm"),
    (r"^from (hmmlearn|\.\.) import hmm$", "from seqlab import hmm"),
    (r"^from \.\.hmm import", "from seqlab.hmm import"),
    (r"^from hmmlearn\.base import", "from seqlab.hmm import"),
    (r"^from hmmlearn\.utils import", "from seqlab.hmm.utils import"),
]
C_NAMES = "calls functions of hmmlearn's private C module _hmmc"
NO_UNDERFLOW = "expects implementation='scaling' to fail with underflow; the chain engine cannot underflow"
DESELECTED = {
    "test_base.py::TestBaseAgainstWikipedia::test_do_forward_scaling_pass": C_NAMES,
    "test_base.py::TestBaseAgainstWikipedia::test_do_forward_pass": C_NAMES,
    "test_base.py::TestBaseAgainstWikipedia::test_do_backward_scaling_pass": C_NAMES,
    "test_base.py::TestBaseAgainstWikipedia::test_do_backward_log_pass": C_NAMES,
    "test_base.py::TestBaseAgainstWikipedia::test_do_viterbi_pass": C_NAMES,
    "test_gaussian_hmm.py::TestGaussianHMMWithSphericalCovars::test_underflow_from_scaling[scaling]": NO_UNDERFLOW,
}


def copied_tests(folder: Path) -> Path:
    """Copy hmmlearn's tests into a package `peer_tests`, with our imports."""
    source, target = Path(str(peer.__file__)).parent / "tests", folder / "peer_tests"
    target.mkdir()
    for path in source.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        for pattern, ours in IMPORTS:
            text = re.sub(pattern, ours, text, flags=re.MULTILINE)
        assert not re.search(r"^\s*(from|import) (hmmlearn|\.\.)", text, flags=re.MULTILINE), path.name
        (target / path.name).write_text(text, encoding="utf-8")
    return target


@pytest.mark.slow
def test_the_tests_of_hmmlearn_pass(tmp_path):
    if importlib.util.find_spec("hmmlearn.tests") is None:
        pytest.skip("this hmmlearn comes without its tests: pip install hmmlearn==0.3.3")
    tests = copied_tests(tmp_path)
    left_out = [f"--deselect=peer_tests/{name}" for name in DESELECTED]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HMMLEARN_SEED": "1"}
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pytest.ini", *left_out, tests.name],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert f"{len(DESELECTED)} deselected" in done.stdout
