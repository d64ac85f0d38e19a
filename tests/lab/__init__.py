"""The lab: real Xen hosts in QEMU, an observed PV guest, snapshots per stage.

`Lab` is the one name tests need; `python -m tests.lab` is the same for people. README.md says how.
"""

from .image.recipe import LabError
from .lab import Lab

__all__ = ["Lab", "LabError"]
