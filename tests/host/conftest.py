"""Torch on one thread: its threads wait for each other actively, which starves a busy machine."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
