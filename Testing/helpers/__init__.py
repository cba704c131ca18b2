"""Helpers of several tests: synthetic cohorts, results, pages in a browser, reference numbers."""

from pathlib import Path

TESTING = Path(__file__).parents[1]
ROOT = TESTING.parent
