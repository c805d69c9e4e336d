"""``dfdgbench data verify``: read every file of a dataset and say what is the matter with it."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.options import positive
from dfdgbench.cli.output import fail, say, say_table

if TYPE_CHECKING:
    from dfdgbench.datasets.check.report import DomainReport, Report

EXAMPLES = """\
examples:
  dfdgbench data verify PACS --data-dir data
  dfdgbench data verify folder:my/images --jobs 4
  dfdgbench data verify PACS --json > pacs.json

Two people have the same files where the content hashes agree, wherever they lie and whatever they are called; where the
fingerprints agree too, so do the files' names and classes."""
MOST_CLASSES = 40
SHOWN_HASH = 16


def add(actions: Any) -> None:
    """Add the action's parser."""
    parser = actions.add_parser(
        "verify",
        help="read every file: counts, damage, duplicates, hashes",
        description="Read and decode every file of a dataset. Nothing is changed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="see `dfdgbench list datasets`; or folder:PATH")
    parser.add_argument(
        "--data-dir", metavar="DIR", default="data", help="the folder that holds the dataset's folder; default ./data"
    )
    parser.add_argument("--jobs", type=positive, metavar="N", help="processes that decode; default: one a core")
    parser.add_argument("--json", action="store_true", help="for programs: all of it, nothing cut short")
    parser.set_defaults(run=run)


class _Bars:
    """A bar for each domain in a terminal, silence elsewhere."""

    def __init__(self) -> None:
        self.title, self._bar = "", None  # type: tuple[str, Any]

    def __call__(self, title: str, done: int, of: int) -> None:
        from tqdm import tqdm

        if title != self.title:
            self.close()
            self.title = title
            self._bar = tqdm(total=of, desc=title, unit="file", leave=False, dynamic_ncols=True, disable=None)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


def run(options: argparse.Namespace) -> int:
    """Print what was found; exit code 1 where something is wrong."""
    from dfdgbench.datasets.check.verify import verify
    from dfdgbench.engine.interrupt import terminated_like_interrupted

    bars = _Bars()
    try:
        with terminated_like_interrupted():
            report = verify(options.name, options.data_dir, options.jobs, bars)
    except KeyboardInterrupt:
        fail(
            f"Stopped{f' at {bars.title}' if bars.title else ''}. Nothing was changed, and nothing is kept of what was read."
        )
        return 130
    finally:
        bars.close()
    if options.json:
        say(json.dumps(report.json(), indent=2))
    else:
        _say(report)
    return 0 if report.ok else 1


def _say(report: Report) -> None:
    say_table([_row(domain) for domain in report.domains])
    _say_classes(report)
    if any(domain.fingerprint for domain in report.domains):
        say()
        say_table([_hashes(domain) for domain in report.domains])
    say()
    for finding in report.findings:
        say(_wrapped(f"{'wrong: ' if finding.wrong else 'note: '}{finding.text}"))
    if report.ok:
        total = sum(domain.found or 0 for domain in report.domains)
        say(f"{report.name} is whole: {total:,} images in {len(report.domains)} domains, all of them readable.")
    else:
        say(f"{report.name} is not as it should be.")


def _row(domain: DomainReport) -> dict[str, Any]:
    return {
        "domain": domain.name,
        "images": _number(domain.found),
        "expected": _number(domain.expected),
        "classes": _number(domain.classes_found) if domain.classes else None,
        "undecodable": _number(len(domain.undecodable)) if domain.found is not None else None,
        "duplicates": _number(domain.duplicates) if domain.found is not None else None,
        "state": domain.state,
    }


def _say_classes(report: Report) -> None:
    """Images of each class and domain, or shares of pixels; of many classes those with the fewest."""
    opened = [domain for domain in report.domains if domain.classes]
    names = list(opened[0].classes) if opened else []
    if not names:
        return
    fewest = sorted(names, key=lambda name: min(domain.classes[name] for domain in opened))
    chosen = set(fewest[:MOST_CLASSES])
    say()
    rows = [
        {"class (pixels)" if report.masks else "class": name}
        | {domain.name: _amount(domain, name, report.masks) for domain in opened}
        for name in names
        if name in chosen
    ]
    say_table(rows)
    if len(names) > MOST_CLASSES:
        say(f"({len(names)} classes: the {MOST_CLASSES} with the fewest images in a domain are shown, all with --json)")


def _amount(domain: DomainReport, name: str, masks: bool) -> str:
    count = domain.classes[name]
    return f"{100 * count / max(sum(domain.classes.values()), 1):.2f} %" if masks else f"{count:,}"


def _hashes(domain: DomainReport) -> dict[str, str]:
    return {
        "domain": domain.name,
        "fingerprint": domain.fingerprint[:SHOWN_HASH] or "-",
        "content": domain.content[:SHOWN_HASH] or "-",
    }


def _number(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
