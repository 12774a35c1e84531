"""`install(app)` names the reason when it cannot work."""

import tomllib
from pathlib import Path

import celery
import pytest
from celery.exceptions import ImproperlyConfigured
from packaging.requirements import Requirement
from packaging.version import Version
from task_status_worker.installation import MIN_CELERY, require_celery

PYPROJECT = Path(__file__).parents[3] / "worker" / "pyproject.toml"


@pytest.mark.parametrize("version", ["5.3.6", "5.3.0rc2", "4.4.7", "5.0.0"])
def test_an_old_celery_is_refused_with_the_remedy(version: str) -> None:
    """The error names the version that was found, the version that is needed, and the command that installs it."""
    with pytest.raises(ImproperlyConfigured) as raised:
        require_celery(version)
    assert version in str(raised.value)
    assert "pip install 'celery>=" in str(raised.value)


@pytest.mark.parametrize("version", ["5.7.0", "5.7.0rc1", "5.10.1", "6.0.0", "6", "unknown", celery.__version__])
def test_a_supported_or_unknown_celery_is_accepted(version: str) -> None:
    """A version that cannot be read is accepted, so that a fork of Celery can use the kit."""
    require_celery(version)


def test_the_bound_of_the_package_is_not_lower() -> None:
    """Pip's bound is not lower than the one of the code, so that pip never installs a Celery that `install` refuses."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    [bound] = [one for text in project["dependencies"] if (one := Requirement(text)).name == "celery"]
    [oldest] = [Version(part.version) for part in bound.specifier if part.operator == ">="]
    assert oldest.release[:2] >= MIN_CELERY
