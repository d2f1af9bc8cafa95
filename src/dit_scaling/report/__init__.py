"""Figures and the report: what the study found, for people."""
