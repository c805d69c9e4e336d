"""Sweeps: grids of runs, the plan that unites their stages, launchers that execute it."""
