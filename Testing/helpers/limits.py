"""What the operating system allows this process, for a moment."""

import resource
from contextlib import contextmanager


@contextmanager
def files_up_to(size):
    """No file grows beyond `size` bytes: the system refuses the write, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
