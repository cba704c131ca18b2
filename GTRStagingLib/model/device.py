"""Choose and describe the device that the network runs on."""

import torch

from GTRStagingLib.errors import InputError


def choose(name: str = "auto") -> torch.device:
    """Return the device with a name; 'auto' is the first of CUDA, MPS and CPU that this machine has.

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
        raise InputError(f"This machine has no device {name!r}; expected one that it has. Set `device` to auto or cpu.")
    return device


def describe(device: torch.device) -> str:
    """Return the device's name for the record, as in 'cuda (NVIDIA H200)'."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error is a lack of memory; Apple's MPS raises a plain RuntimeError with these words."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()


__all__ = ["choose", "describe", "is_out_of_memory"]
