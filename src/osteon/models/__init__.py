"""Architectures, one a file, and their criteria. Only this package and `osteon.training` import torch."""
