"""A step's summary as text: one screen, or everything with `--verbose`."""

from __future__ import annotations

from ovforge.records.reporting import Drop, StepSummary

LINES_SHOWN = 8
"""Reasons and notes of one sort that are shown without `--verbose`, the most frequent first."""
EXAMPLES_SHOWN = 3
LONGEST_EXAMPLE = 80


def as_text(summary: StepSummary, *, verbose: bool = False) -> str:
    """The summary as the command line prints it."""
    lines = [f"{summary.step}: done"]
    width = max((len(label) for label in (*summary.counts, *summary.outputs)), default=0)
    lines += [f"  {label:<{width}}  {_number(value)}" for label, value in summary.counts.items()]
    lines += _reasons("skipped", summary.skipped, verbose=verbose)
    lines += _reasons("warning", summary.warnings, verbose=verbose)
    notes = summary.notes if verbose else summary.notes[:LINES_SHOWN]
    lines += [f"  note: {note}" for note in notes]
    if more := len(summary.notes) - len(notes):
        lines.append(f"  and {more:,} more notes, shown with --verbose")
    lines += [f"  {label:<{width}}  {path}" for label, path in summary.outputs.items()]
    if summary.next_command:
        lines.append(f"  next: {summary.next_command}")
    return "\n".join(lines) + "\n"


def _reasons(heading: str, drops: tuple[Drop, ...], *, verbose: bool) -> list[str]:
    by_count = sorted(drops, key=lambda drop: -drop.count)
    shown, rest = (by_count, []) if verbose else (by_count[:LINES_SHOWN], by_count[LINES_SHOWN:])
    lines = []
    for drop in shown:
        names = drop.examples if verbose else drop.examples[:EXAMPLES_SHOWN]
        examples = ", ".join(_short(name) for name in names)
        if examples and drop.count > len(names):
            examples += ", ..."
        lines.append(f"  {heading}: {drop}" + (f" ({examples})" if examples else ""))
    if rest:
        count = sum(drop.count for drop in rest)
        lines.append(f"  {heading}: {count:,} more for {len(rest)} other reasons, shown with --verbose")
    return lines


def _short(name: str) -> str:
    # Names of files and records may hold anything, line breaks too.
    name = name if name.isprintable() else ascii(name)[1:-1]
    return name if len(name) <= LONGEST_EXAMPLE else f"...{name[3 - LONGEST_EXAMPLE :]}"


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
