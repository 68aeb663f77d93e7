"""Imported once by the server from which workers are forked, so that no worker has to import the same again.

The first elementwise operation on the meta device imports PyTorch's shape functions, 800 modules with sympy among
them; that takes longer than most networks take to be counted.
"""

import torch

from bench import probes

__all__ = ["probes"]

torch.relu(torch.empty(1, device="meta")) + 1
