"""Figures for papers, one file a figure."""
