from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from ovforge.errors import InputError, MissingInputError, PlanMismatchError
from ovforge.runs import plan as plan_module
from ovforge.runs.plan import InputFile, Plan, freeze, input_file, input_names, load_plan


def make_plan(**changes: object) -> Plan:
    values: dict[str, object] = {
        "task": "pairs",
        "items": 10,
        "shard_size": 4,
        "seed": 1,
        "options": {"engine": {"name": "warp", "strength": 0.75}, "sizes": (1, 2)},
        "inputs": {"annotations": InputFile("a.json", 5, "ab" * 32)},
        "versions": {"opencv": "4.9"},
    }
    return Plan(**{**values, **changes})  # type: ignore[arg-type]


def test_shards_cover_every_item_once_and_never_reach_over_two_groups():
    plan = make_plan(items=21, shard_size=4, groups=(9, 0, 12))
    groups = plan.shards_by_group()
    assert [[(s.start, s.stop) for s in group] for group in groups] == [
        [(0, 4), (4, 8), (8, 9)],
        [],
        [(9, 13), (13, 17), (17, 21)],
    ]
    assert [s.index for s in plan.shards()] == list(range(6))


def test_no_items_no_shards():
    assert make_plan(items=0).shards() == []
    assert make_plan(items=0, groups=(0, 0)).shards_by_group() == [[], []]


@pytest.mark.parametrize("changes", [{"groups": (3, 4)}, {"groups": (11, -1)}, {"shard_size": 0}, {"items": -1}])
def test_impossible_plans_are_refused(changes: dict[str, object]):
    with pytest.raises(InputError):
        make_plan(**changes)


def test_the_same_plan_is_accepted_again_and_names_the_run(tmp_path: Path):
    plan_id = freeze(make_plan(), tmp_path)
    before = (tmp_path / "manifest.json").read_bytes()
    assert freeze(make_plan(), tmp_path) == plan_id
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert load_plan(tmp_path)[0].items == 10


def test_inputs_may_move_between_start_and_resume(tmp_path: Path):
    freeze(make_plan(), tmp_path)
    freeze(make_plan(inputs={"annotations": InputFile("/elsewhere/a.json", 5, "ab" * 32)}), tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 2}, "option seed: 1 in the run, 2 now"),
        ({"shard_size": 8}, "option shard_size: 4 in the run, 8 now"),
        ({"groups": (5, 5)}, "option groups: 1 in the run, 2 now"),
        (
            {"options": {"engine": {"name": "warp", "strength": 0.5}, "sizes": (1, 2)}},
            "option engine.strength: 0.75 in the run, 0.5 now",
        ),
        (
            {"options": {"engine": {"name": "warp", "strength": 0.75}}},
            "option sizes: [1, 2] in the run, not set now",
        ),
        ({"versions": {"opencv": "5.0"}}, "version opencv: 4.9 in the run, 5.0 now"),
        (
            {"inputs": {"annotations": InputFile("a.json", 5, "cd" * 32)}},
            "input annotations: a.json (5 bytes, sha256 abababababab) in the run, a.json (5 bytes, sha256 cdcd",
        ),
        ({"inputs": {}}, "input annotations: a.json in the run, none now"),
    ],
)
def test_a_resume_with_another_plan_is_refused_with_the_difference(tmp_path: Path, changes: dict, told: str):
    freeze(make_plan(), tmp_path)
    with pytest.raises(PlanMismatchError) as caught:
        freeze(make_plan(**changes), tmp_path)
    assert told in caught.value.message
    assert "manifest.json" in caught.value.message
    assert "--overwrite" in caught.value.hint


def test_every_difference_is_named(tmp_path: Path):
    freeze(make_plan(), tmp_path)
    with pytest.raises(PlanMismatchError) as caught:
        freeze(make_plan(seed=2, shard_size=8), tmp_path)
    assert "seed" in caught.value.message
    assert "shard_size" in caught.value.message


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "ovforge run 1"}', '{"format":"x","plan":{"task":1}}', '{"format": "\u00e9"}']
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str):
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="not the manifest of a run"):
        load_plan(tmp_path)


def test_a_manifest_of_another_format_is_refused(tmp_path: Path):
    freeze(make_plan(), tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace("ovforge run 1", "ovforge run 2"))
    with pytest.raises(InputError, match="ovforge run 2"):
        load_plan(tmp_path)


def test_no_run_there(tmp_path: Path):
    with pytest.raises(MissingInputError, match="a run not found"):
        load_plan(tmp_path)


def test_many_may_start_at_once(tmp_path: Path):
    barrier = threading.Barrier(16)
    results: list[object] = []

    def start(seed: int) -> None:
        barrier.wait()
        try:
            results.append(freeze(make_plan(seed=seed), tmp_path))
        except PlanMismatchError as error:
            results.append(error)

    threads = [threading.Thread(target=start, args=(i % 2,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = {result for result in results if isinstance(result, str)}
    assert len(winners) == 1  # one plan won, and all who had the other were told
    assert len([result for result in results if isinstance(result, str)]) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_input_files_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"hello")
    assert input_file(path).sha256 == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert input_file(path).method == "whole file"
    with pytest.raises(MissingInputError):
        input_file(tmp_path)

    monkeypatch.setattr(plan_module, "WHOLE_UP_TO", 4)
    path.write_bytes(bytes(3 << 20))
    before = input_file(path)
    assert before.method == "256 spread blocks"
    for place in (0, (3 << 20) - 1):  # first and last byte count
        data = bytearray(3 << 20)
        data[place] = 1
        path.write_bytes(data)
        assert input_file(path).sha256 != before.sha256


def test_names_of_a_folder(tmp_path: Path):
    assert input_names(tmp_path, ["a", "bc"]).sha256 != input_names(tmp_path, ["ab", "c"]).sha256
    assert input_names(tmp_path, ["a", "b"]).size == 2


def test_a_plan_survives_json():
    plan = make_plan(options={})
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
