#!/usr/bin/env python3
"""Build the packaged tables of src/ovforge/taxonomy from WordNet 3.0's own files and an LVIS v1 category list.

    python tools/build_taxonomy.py --lvis lvis_v1_val.json [--fall11 fall11.txt --winter21-p winter21_p.txt]

WordNet's files are those of Debian's package wordnet-base, whose offsets are the ones ImageNet uses.
`substitutes.tsv` is kept by hand in its first two columns (class, substitute) and completed here.

The two lists of ImageNet ids, one per line, say what the releases hold: the 21,841 classes of fall11_whole.tar, and
the 10,450 of ImageNet-21K-P from winter21_whole.tar.gz. No complete list of Winter 2021 is published; it is
Fall 2011 without most classes of people, so a class counts as in it unless it is below person.n.01 and not in the
second list. Without the lists, the column `releases` keeps what it has.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLES = Path(__file__).resolve().parents[1] / "src" / "ovforge" / "taxonomy"


@dataclass(frozen=True)
class WordNet:
    """The nouns of WordNet: which synsets a word has, and what lies above a synset."""

    senses: dict[str, list[str]]
    """Word -> the offsets of its synsets, in the order of their sense numbers (8 digits, as in the files)."""
    hypernyms: dict[str, list[str]]
    """Offset -> the offsets one level up."""

    @classmethod
    def read(cls, folder: Path) -> WordNet:
        """Read index.noun and data.noun (file format: wndb(5WN))."""
        senses = {}
        for line in _lines(folder / "index.noun"):
            fields = line.split()
            senses[fields[0]] = fields[-int(fields[2]) :]
        hypernyms = {}
        for line in _lines(folder / "data.noun"):
            fields = line.split(" | ", 1)[0].split()
            pointers = fields[5 + 2 * int(fields[3], 16) :]
            hypernyms[fields[0]] = [
                offset
                for symbol, offset, part in zip(pointers[0::4], pointers[1::4], pointers[2::4], strict=False)
                if symbol in ("@", "@i") and part == "n"
            ]
        return cls(senses, hypernyms)

    def offset(self, synset: str) -> str | None:
        """The offset of `word.n.NN`, or None where there is no such sense."""
        word, part, number = synset.rsplit(".", 2)
        offsets = self.senses.get(word.lower(), [])
        return offsets[int(number) - 1] if part == "n" and 1 <= int(number) <= len(offsets) else None

    def is_below(self, offset: str, ancestor: str) -> bool:
        """Whether `ancestor` is somewhere above `offset`."""
        return any(parent == ancestor or self.is_below(parent, ancestor) for parent in self.hypernyms[offset])


@dataclass(frozen=True)
class Releases:
    """What the releases of ImageNet-21K hold."""

    fall11: frozenset[str]
    winter21_p: frozenset[str]

    def of(self, wnid: str, wordnet: WordNet) -> str:
        """The table's cell: the releases that have `wnid`, with a space between."""
        if wnid not in self.fall11:
            return ""
        person = wordnet.offset("person.n.01")
        dropped = person is not None and wordnet.is_below(wnid[1:], person) and wnid not in self.winter21_p
        return "fall11" if dropped else "fall11 winter21"


def main() -> None:
    """Read, build, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="folder of index.noun and data.noun"
    )
    parser.add_argument("--lvis", type=Path, required=True, help="any LVIS v1 annotation file: its categories are read")
    parser.add_argument("--fall11", type=Path, help="ImageNet ids of the Fall 2011 release, one a line")
    parser.add_argument("--winter21-p", type=Path, help="ImageNet ids of ImageNet-21K-P of Winter 2021, one a line")
    parser.add_argument("--out", type=Path, default=TABLES, help="folder of the tables")
    arguments = parser.parse_args()
    if (arguments.fall11 is None) != (arguments.winter21_p is None):
        parser.error("--fall11 and --winter21-p are only meaningful together")

    wordnet = WordNet.read(arguments.wordnet)
    releases = None
    if arguments.fall11:
        releases = Releases(_ids(arguments.fall11), _ids(arguments.winter21_p))
    categories = json.loads(arguments.lvis.read_bytes())["categories"]
    _write_classes(arguments.out / "lvis_v1.tsv", categories, wordnet, releases)
    _write_substitutes(arguments.out / "substitutes.tsv", {c["synset"] for c in categories}, wordnet, releases)


def _write_classes(path: Path, categories: list[dict[str, Any]], wordnet: WordNet, releases: Releases | None) -> None:
    kept = {row[2]: row[5] for row in _rows(path)} if releases is None and path.exists() else {}
    rows = []
    for category in sorted(categories, key=lambda category: category["id"]):
        synset = category["synset"]
        offset = wordnet.offset(synset)
        if offset is None:
            sys.stderr.write(f"{synset}: not in this WordNet, gets no ImageNet id\n")
        wnid = f"n{offset}" if offset else ""
        cell = releases.of(wnid, wordnet) if releases and wnid else kept.get(synset, "")
        rows.append([str(category["id"]), category["name"], synset, wnid, category["frequency"], cell])
    _write(path, ["id", "name", "synset", "wnid", "frequency", "releases"], rows)


def _write_substitutes(path: Path, synsets: set[str], wordnet: WordNet, releases: Releases | None) -> None:
    rows = []
    for synset, substitute, *rest in _rows(path):
        offset = wordnet.offset(substitute)
        if synset not in synsets or offset is None:
            sys.exit(f"{path}: {synset} -> {substitute}: not an LVIS class, or not in this WordNet")
        wnid = f"n{offset}"
        rows.append([synset, substitute, wnid, releases.of(wnid, wordnet) if releases else [*rest, "", ""][1]])
    _write(path, ["synset", "substitute", "wnid", "releases"], rows)


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    path.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]), encoding="utf-8")
    sys.stderr.write(f"{path}: {len(rows)} rows\n")


def _rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]


def _ids(path: Path) -> frozenset[str]:
    return frozenset(path.read_text(encoding="utf-8").split())


def _lines(path: Path) -> list[str]:
    # The licence at the top of each file is indented by two spaces.
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith(" ")]


if __name__ == "__main__":
    main()
