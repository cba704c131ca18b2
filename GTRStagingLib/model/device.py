"""Choose and describe the device that the network runs on. torch is imported only to look for GPUs."""

import re
from dataclasses import dataclass

from GTRStagingLib.errors import InputError
from GTRStagingLib.support.extras import torch_installed

EXPECTED = "expected auto, cpu, cuda, cuda:N or mps"


@dataclass(frozen=True)
class Device:
    """Device by its kind and, if several exist, its number; as text like 'cuda:1', as torch names it.

    Attributes
    ----------
    type
        'cpu', 'cuda' or 'mps'.
    index
        Number of the device; None for the current one.
    """

    type: str
    index: int | None = None

    def __str__(self) -> str:
        """Return the name, as in 'cpu' or 'cuda:1'."""
        return self.type if self.index is None else f"{self.type}:{self.index}"


CPU = Device("cpu")


def choose(name: str = "auto") -> Device:
    """Return the device with a name; 'auto' is the first of CUDA, MPS and CPU that this machine has.

    Without PyTorch it is the CPU.

    Raises
    ------
    InputError
        If the machine has no such device, or if a GPU is requested without PyTorch.

    Examples
    --------
    >>> from GTRStagingLib.model.device import choose
    >>> str(choose("cpu"))
    'cpu'
    """
    if name == "auto":
        if not torch_installed():
            return CPU
        import torch

        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    found = re.fullmatch(r"(cpu|cuda|mps)(?::(\d{1,4}))?", name)
    if not found:
        raise InputError(f"Device {name!r}; {EXPECTED}.")
    device = Device(found[1], None if found[2] is None else int(found[2]))
    if device.type == "cpu":
        here = device.index in (None, 0)
    elif not torch_installed():
        raise InputError(
            f"Device {name!r} needs PyTorch, which is not installed; expected the CPU, on which ONNX Runtime runs. Set "
            "`device` to auto or cpu, or: pip install 'gtrstaging[torch]'."
        )
    else:
        here = _has(device)
    if not here:
        raise InputError(f"This machine has no device {name!r}; expected one that it has. Set `device` to auto or cpu.")
    return device


def _has(device: Device) -> bool:
    import torch

    if device.type == "mps":
        return bool(torch.backends.mps.is_available())
    return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()


def describe(device: Device) -> str:
    """Return a device for the record, as in 'cpu' or 'cuda (NVIDIA H200)'."""
    if device.type != "cuda":
        return str(device)
    import torch

    return f"{device} ({torch.cuda.get_device_name(str(device))})"


__all__ = ["CPU", "Device", "choose", "describe"]
