"""A step's summary as text: one screen, or everything with `--verbose`."""

from __future__ import annotations

from ovforge.records.reporting import Drop, StepSummary
from ovforge.wording import as_call, for_command_line, for_python

LINES_SHOWN = 8
"""Reasons and notes of one sort that are shown without `--verbose`, the most frequent first."""
EXAMPLES_SHOWN = 3
LONGEST_EXAMPLE = 80
WIDEST_LABEL = 40
"""Longer ones stand out of the column."""


def as_text(summary: StepSummary, *, verbose: bool = False, python: bool = False) -> str:
    """The summary as the command line prints it; `python`: with options and commands as a Python caller has them."""
    say = for_python if python else for_command_line
    lines = [f"{summary.step}: done"]
    # Of a procedure, only what each step has made; what the steps have to say comes before it, if that is wanted.
    made = [(part.step, next(iter(part.outputs.values()), "")) for part in summary.parts]
    outputs = made or list(summary.outputs.items())
    width = min(max((len(label) for label in (*summary.counts, *dict(outputs))), default=0), WIDEST_LABEL)
    lines += [f"  {label:<{width}}  {_number(value)}" for label, value in summary.counts.items()]
    if not summary.parts:
        lines += _reasons("skipped", summary.skipped, verbose=verbose, python=python)
        lines += _reasons("warning", summary.warnings, verbose=verbose, python=python)
    elif not verbose:
        lines += _totals(summary, python=python)
    notes = summary.notes if verbose else summary.notes[:LINES_SHOWN]
    lines += [f"  note: {say(note)}" for note in notes]
    if more := len(summary.notes) - len(notes):
        lines.append(f"  and {more:,} more notes, {_where(python=python)}")
    lines += [f"  {label:<{width}}  {path}" for label, path in outputs]
    if summary.next_command:
        lines.append(f"  next: {as_call(summary.next_command) if python else summary.next_command}")
    before = [as_text(part, verbose=True, python=python) for part in summary.parts] if verbose else []
    return "".join(before) + "\n".join(lines) + "\n"


def _totals(summary: StepSummary, *, python: bool) -> list[str]:
    """What all the steps skipped, warned of and noted, as one line."""
    skipped, warned = (sum(drop.count for drop in drops) for drops in (summary.skipped, summary.warnings))
    notes = sum(len(part.notes) for part in summary.parts)
    counted = ((skipped, "skipped"), (warned, "warning"), (notes, "note"))
    told = ", ".join(
        f"{count:,} {what}{'' if count == 1 or what == 'skipped' else 's'}" for count, what in counted if count
    )
    return [f"  {told}: {_where(python=python)}"] if told else []


def _reasons(heading: str, drops: tuple[Drop, ...], *, verbose: bool, python: bool) -> list[str]:
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
        lines.append(f"  {heading}: {count:,} more for {len(rest)} other reasons, {_where(python=python)}")
    return lines


def _where(*, python: bool) -> str:
    return "see `drops` and `notes`" if python else "shown with --verbose"


def _short(name: str) -> str:
    # Names of files and records may hold anything, line breaks too.
    name = name if name.isprintable() else ascii(name)[1:-1]
    return name if len(name) <= LONGEST_EXAMPLE else f"...{name[3 - LONGEST_EXAMPLE :]}"


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
