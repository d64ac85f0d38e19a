"""Desired + observed + journeys in flight -> plan. Pure: same inputs, same plan."""
