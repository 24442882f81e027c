"""The judge's measures: what each says of an object that came through, and of one that did not."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ovforge.errors import InputError
from ovforge.options.rejection import Rule, parse_rules
from ovforge.synthesis.judge.measures import Measures, measure_objects
from ovforge.synthesis.judge.models import found_objects, object_crop, same_objects
from ovforge.synthesis.judge.rejection import broken_rules
from ovforge.vision.detector import Detections

from .conftest import BOXES, HEIGHT, WIDTH, masks, scene

X, Y, W, H = BOXES[0]
OBJECT = np.s_[Y : Y + H, X : X + W]


def measured(second: NDArray[np.uint8]) -> list[Measures]:
    return measure_objects(scene(1), second, masks())


def through_a_repainting(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """About what a VAE and a JPEG do to an object that is kept."""
    small = cv2.resize(image, None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA)
    back = cv2.resize(small, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC)
    done, data = cv2.imencode(".jpg", back, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def test_nothing_changed() -> None:
    for one in measured(scene(1)):
        assert (one.sharpness, one.boundary, one.colour) == (1.0, 1.0, 1.0)
        assert one.repeated == 0.0


def test_an_object_that_came_through_scores_well() -> None:
    for one in measured(through_a_repainting(scene(1))):
        assert one.sharpness is not None and 0.6 < one.sharpness < 1.3
        assert one.boundary is not None and 0.7 < one.boundary < 1.3
        assert one.colour is not None and one.colour > 0.8


def test_a_blur_is_not_sharp() -> None:
    second = scene(1)
    second[OBJECT] = cv2.GaussianBlur(second[OBJECT], (0, 0), 5)
    blurred, other = measured(second)
    assert blurred.sharpness is not None and blurred.sharpness < 0.4
    assert other.sharpness == 1.0


def test_nothing_ends_where_an_object_was_erased() -> None:
    second = scene(1)
    second = cv2.inpaint(second, cv2.dilate(masks()[0], np.ones((9, 9), np.uint8)), 5, cv2.INPAINT_TELEA)
    erased, other = measured(np.asarray(second, np.uint8))
    assert erased.boundary is not None and erased.boundary < 0.4
    assert erased.sharpness is not None and erased.sharpness < 0.4
    assert other.boundary == 1.0


def test_other_colours_are_seen_although_structure_stays() -> None:
    second = scene(1)
    hsv = cv2.cvtColor(second[OBJECT], cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + 60) % 180
    second[OBJECT] = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    recoloured, other = measured(second)
    assert recoloured.colour is not None and other.colour is not None
    assert recoloured.colour < 0.5 < other.colour


def test_a_second_copy_is_found() -> None:
    second = scene(1)
    second[115 : 115 + H, 20 : 20 + W] = second[OBJECT]
    doubled, _ = measured(second)
    assert doubled.repeated is not None and doubled.repeated > 0.9
    first_view_too = measure_objects(second, second, masks())[0]
    assert first_view_too.repeated == 0.0  # it was there before


def test_objects_at_the_border_and_objects_that_left() -> None:
    image = scene(1)
    whole = np.full((HEIGHT, WIDTH), 255, np.uint8)
    none = np.zeros((HEIGHT, WIDTH), np.uint8)
    point = none.copy()
    point[5, 5] = 255
    filled, left, tiny = measure_objects(image, image, [whole, none, point])
    assert filled.boundary == 1.0 and filled.repeated is not None
    assert left == Measures() and tiny == Measures()
    assert measure_objects(image, image, []) == []


class Means:
    """A vision model that sees mean colours."""

    def embed_images(self, images: Any) -> Any:
        return np.stack([image.reshape(-1, 3).mean(axis=0) - 128 for image in images]).astype(np.float32)


def test_same_is_the_own_first_view_and_margin_the_distance_to_others() -> None:
    reference = np.full((40, 60, 3), 128, np.uint8)
    reference[5:20, 5:20] = (228, 128, 128)
    reference[5:20, 30:45] = (128, 228, 128)
    shapes = [np.zeros((40, 60), np.uint8) for _ in range(3)]
    shapes[0][5:20, 5:20] = 255
    shapes[1][5:20, 30:45] = 255
    second = reference.copy()
    (a, b, gone) = same_objects(Means(), reference, second, shapes)
    assert a == b == (1.0, 1.0) and gone == (None, None)
    second[5:20, 5:20], second[5:20, 30:45] = (128, 228, 128), (228, 128, 128)  # swapped
    (a, b, _) = same_objects(Means(), reference, second, shapes)
    assert a == b == (0.0, -1.0)
    assert same_objects(Means(), reference, second, shapes[:1]) == [(0.0, None)]


def test_a_crop_shows_the_object_alone() -> None:
    crop = object_crop(scene(1), masks()[0])
    assert crop is not None
    assert crop.shape[0] > H and crop.shape[1] > W
    assert (crop[0] == 128).all() and (crop[:, 0] == 128).all()


class Finds:
    """A detector that always finds the same."""

    def __init__(self, boxes: list[list[float]], scores: list[float], labels: list[int]) -> None:
        self.result = Detections(np.array(boxes, np.float32), np.array(scores, np.float32), np.array(labels))

    def detect(self, image: Any, classes: Any, *, threshold: float) -> Detections:
        assert list(classes) == ["cat", "dog"]
        return self.result


def test_found_and_extra() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 20, 10, 10]], np.float64)
    detector: Any = Finds(
        [[0, 0, 10, 10], [20, 20, 30, 25], [40, 40, 50, 50], [60, 60, 70, 70]], [0.9, 0.8, 0.7, 0.2], [0, 1, 0, 0]
    )
    found, extra = found_objects(detector, scene(1), boxes, (1, 2), {1: "cat", 2: "dog", 3: "cup"})
    assert found == [1.0, 0.5]
    assert [(each.category_id, each.bbox) for each in extra] == [(1, (40.0, 40.0, 10.0, 10.0))]  # not the unsure one
    found, extra = found_objects(detector, scene(1), boxes[::-1], (1, 2), {1: "cat", 2: "dog"})
    assert found == [0.0, 0.0] and len(extra) == 3  # a box of another class is not it


def test_rules() -> None:
    rules = parse_rules("same<0.6, boundary<0.3,repeated>0.9")
    assert rules == (Rule("same", True, 0.6), Rule("boundary", True, 0.3), Rule("repeated", False, 0.9))
    assert [rule.reason for rule in rules] == [
        "its score same is below 0.6",
        "its score boundary is below 0.3",
        "its score repeated is above 0.9",
    ]
    columns = {
        "same": np.array([0.5, 0.9, np.nan, 0.9]),
        "boundary": np.array([0.1, 0.2, 0.9, 0.9]),
        "repeated": np.array([0.1, 0.1, 0.95, np.nan]),
    }
    assert broken_rules(rules, columns).tolist() == [0, 1, 2, -1]
    for text in ("same=0.6", "likeness<0.6", "same<x", "same<nan", ""):
        with pytest.raises(InputError, match="not of the form SCORE<NUMBER"):
            parse_rules(text)
    with pytest.raises(InputError, match="no object of the run has this score"):
        broken_rules(parse_rules("found<0.5"), {**columns, "found": np.full(4, np.nan)})
