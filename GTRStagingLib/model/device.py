"""Where the network runs: chosen, named, and never silently changed."""

import torch

from GTRStagingLib.errors import InputError


def choose(name: str = "auto") -> torch.device:
    """The device of that name; 'auto' is the first of CUDA, MPS and CPU that this machine has.

    Raises
    ------
    InputError
        If the machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"Device {name!r}; expected auto, cpu, cuda, cuda:N or mps.") from error
    here = {
        "cpu": device.index in (None, 0),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if device.type not in here:
        raise InputError(f"Device {name!r}; expected auto, cpu, cuda, cuda:N or mps.")
    if not here[device.type]:
        raise InputError(f"Device {name!r} is not on this machine; expected one that is. Use --device auto or cpu.")
    return device


def describe(device: torch.device) -> str:
    """The device's name for the record, as in 'cuda (NVIDIA H200)'."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Apple's MPS has no error of its own for it: a plain RuntimeError that says so."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()


def one_thread() -> None:
    """Leave the other cores to the other processes: of a pool there is one a core."""
    torch.set_num_threads(1)


__all__ = ["choose", "describe", "is_out_of_memory", "one_thread"]
