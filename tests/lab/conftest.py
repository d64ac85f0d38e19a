"""The lab's fixtures for the tests in this folder."""

from .fixtures import lab_guest, lab_session, lab_up

__all__ = ["lab_guest", "lab_session", "lab_up"]
