"""Faults on real Xen and DRBD: every step of a move, every fault, from snapshots of the lab."""
