"""For type checkers: `bench.models` is the folder models/ of a clone (see `bench/__init__.py`)."""

from models import *  # noqa: F403
