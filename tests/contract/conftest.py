"""The lab for the contract test."""

from tests.lab.fixtures import lab_guest, lab_session, lab_up

__all__ = ["lab_guest", "lab_session", "lab_up"]
