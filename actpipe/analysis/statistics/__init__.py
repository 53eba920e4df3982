"""Intervals, controls and corrections for everything that is reported."""
