"""The small bundle of the unit tests."""

from tests.unit.conftest import path, sample  # noqa: F401
