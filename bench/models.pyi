"""For type checkers: `bench.models` is the folder models/ beside this one (see `bench/__init__.py`)."""

from models import *  # noqa: F403
