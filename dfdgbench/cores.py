"""How many processes are worth starting."""

from __future__ import annotations

import os

SHARE = "DFDGBENCH_CORES"


def available_cores() -> int:
    """Cores that this process may use: on a shared machine a scheduler often gives it fewer than there are.

    ``$DFDGBENCH_CORES`` is the share of one of several processes that divide them.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get(SHARE, "")
    return min(there, int(share)) if share.isdecimal() and int(share) else there


def divided(processes: int) -> int:
    """How many cores each of ``processes`` gets of those that this process may use; at least one.

    Some clusters give a job fewer cores than they let it see, so what it asked for (``$SLURM_CPUS_PER_TASK``) counts too.
    """
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    there = min(available_cores(), int(asked)) if asked.isdecimal() and int(asked) else available_cores()
    return max(1, there // processes)
