"""Limit resources of this process temporarily."""

import resource
from contextlib import contextmanager


@contextmanager
def files_up_to(size):
    """Limit files to `size` bytes: the system refuses to write more, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
