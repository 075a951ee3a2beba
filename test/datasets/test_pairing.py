"""Pairing of label files with images by name, and their order without names."""

from pathlib import Path

import pytest

from bisenet_ros.datasets.pairing import in_order, is_label_folder, labels_by_image
from bisenet_ros.errors import DatasetError


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("frame_1", "frame_1"),
        ("frame_1", "frame_1_mask"),
        ("frame_10", "frame_10_labels"),
        ("aachen/x_000019_leftImg8bit", "aachen/x_000019_gtFine_labelIds"),
        ("x_leftImg8bit", "x_gtCoarse_labelTrainIds"),
        ("0004a4c0-d4dff0ad", "0004a4c0-d4dff0ad_train_id"),
        ("001_image", "001_annotation"),
        ("img1", "mask1"),
        ("image_001", "label_001"),
        ("rgb_001", "gt_001"),
        ("IMG 0001", "img-0001 (Mask)"),
        ("001", "001GT"),
        ("a_jpg.rf.0f3c", "a_jpg.rf.0f3c_mask"),
        ("a", "a.jpg"),
        ("mask_01", "mask_01_label"),
        ("caf\u00e9", "cafe\u0301_seg"),  # macOS decomposes accents
        ("day1/a", "day1/a_ground-truth"),
    ],
)
def test_name_of_a_label_is_that_of_its_image(image: str, label: str) -> None:
    images = [f"other{n}" for n in range(20)] + [image]
    assert labels_by_image(images, [label]) == {image: [label]}


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("frame_1", "frame_10_mask"),
        ("frame_10", "frame_1_mask"),
        ("frame_1", "frame_01_mask"),
        ("left_1", "right_1"),
        ("scene", "scene_1"),
        ("1", "1_2_mask"),
        ("day1/a", "day2/a_mask"),
    ],
)
def test_other_names_do_not_match(image: str, label: str) -> None:
    assert labels_by_image([image], [label]) == {}


def test_suffixes_do_not_change_the_pairs() -> None:
    """Sorted by name, frame_1_mask comes after frame_10_mask, but frame_1 before frame_10."""
    images = [f"frame_{number}" for number in range(12)]
    labels = sorted(f"{image}_mask" for image in images)
    assert labels_by_image(images, labels) == {image: [f"{image}_mask"] for image in images}


def test_same_name_goes_before_similar_ones() -> None:
    images = ["a", "a_img", "A"]
    assert labels_by_image(images, images) == {image: [image] for image in images}
    assert labels_by_image(["a", "a_img"], ["a_mask", "a_img_mask"]) == {
        "a": ["a_mask"],
        "a_img": ["a_img_mask"],
    }


def test_an_unknown_affix_must_be_common_to_all_labels() -> None:
    assert labels_by_image(["1", "2"], ["1_watershed", "2_watershed", "3_watershed"]) == {
        "1": ["1_watershed"],
        "2": ["2_watershed"],
    }
    assert labels_by_image(["um_1", "um_2"], ["x_um_1_L", "x_um_2_L"]) == {
        "um_1": ["x_um_1_L"],
        "um_2": ["x_um_2_L"],
    }
    # One mask for each class, not the labels of an image.
    assert labels_by_image(["a", "b"], ["a_road", "a_car", "b_road", "b_car"]) == {}
    # Where some names match, others have no excuse.
    assert labels_by_image(["1", "2"], ["1", "2_watershed"]) == {"1": ["1"]}


def test_ambiguous_names_are_found_several_times() -> None:
    assert labels_by_image(["a"], ["a", "a_mask"]) == {"a": ["a", "a_mask"]}
    assert labels_by_image(["a-1", "a_1"], ["A 1"]) == {"a-1": ["A 1"], "a_1": ["A 1"]}


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        ("f_1 f_10 f_2", "f_1 f_2 f_10"),
        ("a1_mask a10_mask a2_mask", "a1_mask a2_mask a10_mask"),
        ("001 002 010", "001 002 010"),
        ("c1_f01 c1_f02 c2_f01", "c1_f01 c1_f02 c2_f01"),
        ("0.05 0.10 0.15", "0.05 0.10 0.15"),
    ],
)
def test_order_by_number(names: str, ordered: str) -> None:
    paths = [Path("run_1.5", f"{name}.png") for name in names.split()]
    assert [path.stem for path in in_order(paths)] == ordered.split()


@pytest.mark.parametrize("names", ["0.1 0.15 0.2", "c1_f10 c1_f2 c2_f1", "a1 a10 a2 b1"])
def test_uncertain_order_is_refused(names: str) -> None:
    with pytest.raises(DatasetError, match=r"order of the files in labels is ambiguous: .*rename"):
        in_order(Path("labels", f"{name}.png") for name in names.split())


def test_names_of_label_folders() -> None:
    assert all(map(is_label_folder, ["labels", "Masks", "gtFine", "ground-truth", "annotations"]))
    assert not any(
        map(is_label_folder, ["images", "day_1", "left", "aachen", "label_maker", "color"])
    )
