"""Processes that train one model together, started by torchrun: gloo on processors, NCCL on CUDA.

Each shows its own share of an epoch's batches; after each step all have the mean of the gradients and of the
normalisations' statistics, so that every process holds the same weights, to the last bit. (A wrapper around the model
would hide its name and its parts from the task, and would leave the statistics apart.)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed, nn

Value = TypeVar("Value")
PATIENCE = timedelta(hours=2)
"""How long the others wait for the first, which validates alone."""


@contextmanager
def joined() -> Iterator[None]:
    """Train together with the processes that torchrun started; alone where it started none."""
    if not (distributed.is_available() and distributed.is_torchelastic_launched()) or distributed.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(distributed.get_node_local_rank())
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def together() -> bool:
    """Whether more than one process trains."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def count() -> int:
    """How many processes train."""
    return distributed.get_world_size() if together() else 1


def index() -> int:
    """Which of them this is; 0, the first, writes the files."""
    return distributed.get_rank() if together() else 0


def first() -> bool:
    """Whether this is the process that writes."""
    return index() == 0


def wait() -> None:
    """Until all have come here."""
    if together():
        distributed.barrier()


@contextmanager
def in_turn() -> Iterator[None]:
    """The first process goes through the block alone, then the others, who find what it has written."""
    if not first():
        wait()
    yield
    if first():
        wait()


def gathered(value: Value) -> list[Value]:
    """Everybody's value, in order."""
    if not together():
        return [value]
    values: list[Value | None] = [None] * count()
    distributed.all_gather_object(values, value)
    return cast(list[Value], values)


def of_the_first(value: Value) -> Value:
    """The first process's value, for all."""
    return gathered(value)[0]


@torch.no_grad()
def agree(model: nn.Module) -> None:
    """Give every process the mean of all gradients and statistics; a parameter without gradient counts as zero."""
    if not together():
        return
    values = []
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        values.append(parameter.grad)
    values += [buffer for buffer in model.buffers() if buffer.dtype.is_floating_point]
    _average(values)


def _average(values: Sequence[Tensor]) -> None:
    flat = torch.cat([value.reshape(-1).float() for value in values])
    distributed.all_reduce(flat)
    flat /= count()
    for value, mean in zip(values, flat.split([value.numel() for value in values]), strict=True):
        value.copy_(mean.reshape(value.shape))
