"""Simulated Xen hosts that interpret raw argv. Used by the tests and the demo, never by the daemon.

It shares no argv builder or output parser with the rest of the package: what it accepts and prints
follows the real tools, so that a mistake on one side is not repeated on the other.
"""
