"""Fixtures of other rooms whose verbs are tested here."""

from tests.training.conftest import balls

__all__ = ["balls"]
