"""The packaged tables, and the script that builds them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ovforge.taxonomy import (
    LvisClass,
    category_differences,
    class_by_id,
    class_by_synset,
    class_by_wnid,
    lvis_classes,
    releases_of,
    substitute_synsets,
    synset_to_wnid,
    wnid_to_synset,
)

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "build_taxonomy.py"


def test_classes_are_those_of_lvis_v1(mini: Path) -> None:
    categories = json.loads((mini / "lvis" / "lvis_v1_val.json").read_bytes())["categories"]
    expected = [(c["id"], c["name"], c["synset"], c["frequency"]) for c in sorted(categories, key=lambda c: c["id"])]
    assert [(c.id, c.name, c.synset, c.frequency) for c in lvis_classes()] == expected


def test_only_stop_sign_has_no_imagenet_id() -> None:
    assert [c.synset for c in lvis_classes() if c.wnid is None] == ["stop_sign.n.01"]
    assert len(class_by_wnid()) == 1202


def test_ids_agree_with_the_folders_of_the_small_data_set(mini: Path) -> None:
    # The README of the data lists what its folders are; these were resolved by another WordNet reader.
    assert class_by_wnid()["n02084071"].synset == "dog.n.01"
    assert wnid_to_synset()["n04278605"] == "spinner.n.03"
    root = mini / "imagenet" / "imagenet21k_P"
    folders = {folder.name for part in ("train", "imagenet21k_small_classes") for folder in (root / part).iterdir()}
    assert folders - set(wnid_to_synset()) == {
        "n01440764",
        "n01877134",
    }  # tench and kangaroo: neither class nor substitute


def test_lookups_are_each_other_s_inverse() -> None:
    assert {synset: wnid for wnid, synset in wnid_to_synset().items()} == dict(synset_to_wnid())
    assert class_by_id()[1] is class_by_synset()["aerosol.n.02"]
    with pytest.raises(TypeError):
        synset_to_wnid()["dog.n.01"] = "n0"  # type: ignore[index]


def test_substitutes_cover_43_classes_and_have_ids() -> None:
    substitutes = substitute_synsets()
    assert len(substitutes) == 43
    assert set(substitutes) <= set(class_by_synset())
    assert {synset for group in substitutes.values() for synset in group} <= set(synset_to_wnid())
    assert substitutes["brooch.n.01"] == ("pectoral.n.02", "bling.n.01")


def test_substitutes_agree_with_the_reference_dictionary(mini_expected: Path) -> None:
    import gzip

    path = mini_expected / "collate_exemplar_dict" / "exemplar_dict.sorted.json.gz"
    exemplars = json.loads(gzip.decompress(path.read_bytes()))
    used = {(key, record["synset"]) for key, records in exemplars.items() for record in records}
    assert {(key, synset) for key, synset in used if key != synset} <= {
        (key, synset) for key, group in substitute_synsets().items() for synset in group
    }


def test_releases() -> None:
    assert sum("fall11" in c.releases for c in lvis_classes()) == 997
    assert releases_of("dog.n.01") == ("fall11", "winter21")
    assert releases_of("pipe_smoker.n.01") == ("fall11",)  # a person: Winter 2021 left most of them out
    assert releases_of("stop_sign.n.01") == ()
    assert releases_of("no_such_thing.n.01") == ()


def test_no_differences_with_itself() -> None:
    assert category_differences(lvis_classes()) == ()


def test_differences_are_named() -> None:
    changed = [c for c in lvis_classes() if c.id not in (2, 3)]
    changed[0] = changed[0]._replace(frequency="f")
    changed.append(LvisClass(5000, "zeppelin", "zeppelin.n.99", None, "r", ()))
    assert category_differences(changed) == (
        "category 1 (aerosol_can): frequency is f, in LVIS v1 c",
        "category 5000 (zeppelin) is not an id of LVIS v1",
        "category 5000 (zeppelin): synset zeppelin.n.99 is in no packaged table, so it has no ImageNet id",
        "2 classes of LVIS v1 are missing (air_conditioner, airplane)",
    )


WORDNET_INDEX = """\
  1 a licence line
cat n 1 2 @ ~ 1 1 00000200
dog n 2 2 @ ~ 2 1 00000300 00000400
person n 1 1 @ 1 1 00000400
"""
WORDNET_DATA = """\
  1 a licence line
00000100 03 n 01 entity 0 000 | that which is
00000200 05 n 02 cat 0 true_cat 0 001 @ 00000100 n 0000 | a feline | with a bar
00000300 05 n 01 dog 0 001 @ 00000100 n 0000 | a canine
00000400 05 n 02 person 0 dog 1 001 @i 00000100 n 0000 | a chap
"""


def _build(folder: Path, substitutes: str, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "index.noun").write_text(WORDNET_INDEX)
    (folder / "data.noun").write_text(WORDNET_DATA)
    (folder / "substitutes.tsv").write_text("synset\tsubstitute\n" + substitutes)
    categories = [
        {"id": 2, "name": "cat", "synset": "cat.n.01", "frequency": "f"},
        {"id": 1, "name": "dog (person)", "synset": "dog.n.02", "frequency": "r"},
        {"id": 3, "name": "sign", "synset": "sign.n.07", "frequency": "c"},
    ]
    (folder / "lvis.json").write_text(json.dumps({"categories": categories}))
    arguments = ["--wordnet", str(folder), "--lvis", str(folder / "lvis.json"), "--out", str(folder), *more]
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)


def test_build_script_resolves_senses_by_their_number(tmp_path: Path) -> None:
    assert _build(tmp_path, "cat.n.01\tdog.n.01\n").returncode == 0
    assert (tmp_path / "lvis_v1.tsv").read_text().splitlines() == [
        "id\tname\tsynset\twnid\tfrequency\treleases",
        "1\tdog (person)\tdog.n.02\tn00000400\tr\t",
        "2\tcat\tcat.n.01\tn00000200\tf\t",
        "3\tsign\tsign.n.07\t\tc\t",
    ]
    assert "cat.n.01\tdog.n.01\tn00000300\t" in (tmp_path / "substitutes.tsv").read_text()


def test_build_script_refuses_a_substitute_that_wordnet_does_not_have(tmp_path: Path) -> None:
    result = _build(tmp_path, "cat.n.01\tlynx.n.01\n")
    assert result.returncode != 0
    assert "cat.n.01 -> lynx.n.01" in result.stderr
