"""A model as the caller has it: an MLflow model URI, or a registered version that knows its URI."""

from __future__ import annotations

from typing import Protocol, TypeAlias


class HasURI(Protocol):
    """Anything with a model URI, such as what `register` returns."""

    @property
    def uri(self) -> str:
        """The ``models:/`` or ``runs:/`` URI."""


ModelURI: TypeAlias = "str | HasURI"


def uri_of(model: ModelURI) -> str:
    """Return the MLflow URI of a model."""
    return model if isinstance(model, str) else model.uri
