"""Options held against what the cluster has: a job that cannot start is not submitted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dfdgbench.errors import ConfigError, listing, near
from dfdgbench.sweeps.launchers.resources import Resources
from dfdgbench.sweeps.slurm.commands import Cluster, Partition


def check_resources(resources: Resources, cluster: Cluster, kind: str | None = None) -> None:
    """``ConfigError`` for a partition, account, quality of service, constraint or time limit that the cluster refuses.

    Args:
        kind: whose resources these are; None for what all tasks ask for.
    """
    try:
        _check(resources, cluster)
    except ConfigError as error:
        if kind is None:
            raise
        raise ConfigError(f"Of tasks of kind {kind}, {error} (--for {kind}, or kinds in the site's file.)") from error


def _check(resources: Resources, cluster: Cluster) -> None:
    by_name = {partition.name: partition for partition in cluster.partitions}
    chosen = []
    for name in (resources.partition or "").split(",") if resources.partition else []:
        if name not in by_name:
            raise _absent("partition", name, list(by_name))
        chosen.append(by_name[name])
    for name in re.findall(r"[A-Za-z0-9_.:@-]+", re.sub(r"\*\d+", "", resources.constraint or "")):
        if name not in cluster.features:
            raise _absent("constraint", name, cluster.features)
    if chosen:
        _check_limits(resources, chosen)


def _check_limits(resources: Resources, chosen: Sequence[Partition]) -> None:
    """Several partitions are alternatives: one that takes the job is enough."""
    for flag, given, allowed in (
        ("account", resources.account, [partition.accounts for partition in chosen]),
        ("qos", resources.qos, [partition.qos for partition in chosen]),
    ):
        if given is not None and all(names and given not in names for names in allowed):
            raise _absent(flag, given, sorted({name for names in allowed for name in names}))
    limits = [partition.minutes for partition in chosen]
    if resources.time is not None and all(limit is not None and resources.time > limit for limit in limits):
        most = max(limit for limit in limits if limit is not None)
        raise ConfigError(
            f"--time: {resources.time} minutes are more than partition {resources.partition} allows ({most}). "
            f"Type --time {most} or less: what is not finished by then is queued again and goes on."
        )


def _absent(flag: str, given: str, known: Sequence[str]) -> ConfigError:
    close = near(given, known)
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    allowed = f"Valid names here: {listing(known)}." if known else "This cluster has none."
    return ConfigError(f"--{flag}: the cluster has no {flag} '{given}'.{meant} {allowed}")


def check_path(path: Path) -> None:
    """``ConfigError`` for a folder that no script can name safely."""
    refused = sorted(set(re.findall(r"[\x00-\x1f\x7f'\"\\%`$]", str(path))))
    if refused:
        raise ConfigError(
            f"The path {str(path)!r} holds {' '.join(map(repr, refused))}, which a scheduler's script cannot hold. "
            "Choose another folder with --output-dir, and launch from one without such characters."
        )
