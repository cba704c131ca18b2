"""Stand-ins for the functions that a pool runs: they do harm in the child if a file beside the image asks for it."""

import ctypes
import os
import signal
import time

from GTRStagingLib.cohort import fingerprint
from GTRStagingLib.training import slice_cache

HARM = {
    "crash": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda: time.sleep(60),
    "fill": lambda: len(bytes(2**31)),
    "odd": lambda: {}["a key of a foreign reader"],
}


def ask(image, word):
    """Have the first readings of an image do harm, one word each."""
    image.with_name(f"{image.name}.harm").write_text(word)


def harm(image):
    asked = image.with_name(f"{image.name}.harm")
    if asked.exists() and (words := asked.read_text().split()):
        asked.write_text(" ".join(words[1:]))
        HARM[words[0]]()


def of_image(job, whole=fingerprint._of_image):
    """Replacement of `fingerprint._of_image`."""
    harm(job[0])
    return whole(job)


def prepare(task, whole=slice_cache._read):
    """Replacement of `slice_cache._read`."""
    harm(task[0].image)
    return whole(task)
