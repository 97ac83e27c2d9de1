"""Measurements of whole methods."""
