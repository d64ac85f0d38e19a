"""Moves running Xen domains between hosts with local disks by a git commit."""

__version__ = "0.1.0"
