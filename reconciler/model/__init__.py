"""Frozen values and closed enums shared by all layers. No I/O, no clock."""
