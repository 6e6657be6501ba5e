"""Programs of Debian's packages, which ``.ci/run`` installs and a developer may not have."""

import os
import shutil

import pytest


def program(name: str, package: str) -> str:
    """Its path. Skips the test where it is not installed, but fails it in CI: there it has to run."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None and "CI" not in os.environ:
        pytest.skip(f"{name} is not installed: apt-get install {package}")
    assert found is not None, f"CI has to install {package}"
    return found
