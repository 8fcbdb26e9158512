"""Fixtures of other rooms whose verbs are tested here."""

from tests.bundle.conftest import bundle, folder
from tests.training.conftest import balls

__all__ = ["balls", "bundle", "folder"]
