"""Launchers: who executes a sweep's tasks. The truth is on disk; launchers keep no state of value."""
