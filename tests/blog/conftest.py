"""A finished run and an empty hexo folder for each test."""

from pathlib import Path

import pytest

from tests.blog.run_folders import make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "runs" / "tagger-20260102-030405-a1b2")


@pytest.fixture
def blog(tmp_path: Path) -> Path:
    folder = tmp_path / "博客 with blanks"
    (folder / "source" / "_posts").mkdir(parents=True)
    return folder
