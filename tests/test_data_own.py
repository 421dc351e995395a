"""Generated data, one's own data, entries, and the form in which data sets are stored."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data import datasets
from pipeline.data.folders import image_folder, npz_dataset
from pipeline.data.generated import generated, generated_colour
from pipeline.data.images import ImageDataset
from pipeline.data.points import PointDataset
from pipeline.errors import ConfigError, DataError
from pipeline.store.reader import open_store
from pipeline.store.writer import write_dataset


def made_up(train: int = 5, test: int = 3, channels: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {
        "train_images": random.integers(0, 256, (train, 4, 3, *channels), dtype=np.uint8),
        "train_labels": np.arange(train) % 3,
        "test_images": random.integers(0, 256, (test, 4, 3, *channels), dtype=np.uint8),
        "test_labels": np.arange(test) % 3,
    }


# --- generated ----------------------------------------------------------------------------------


@pytest.mark.parametrize("loader", [generated, generated_colour])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_generated_is_deterministic_and_extends(
    seed: int, loader: Callable[..., ImageDataset]
) -> None:
    options = {"test_samples": 20, "seed": seed}
    first = loader(Path(), train_samples=60, **options)
    again = loader(Path(), train_samples=60, **options)
    longer = loader(Path(), train_samples=90, **options)
    for key in ("train_images", "train_labels", "test_images", "test_labels"):
        np.testing.assert_array_equal(getattr(first, key), getattr(again, key))
    np.testing.assert_array_equal(longer.train_images[:60], first.train_images)
    np.testing.assert_array_equal(longer.test_images, first.test_images)
    assert not np.array_equal(first.train_images[:20], first.test_images)


def test_generated_looks_like_mnist() -> None:
    found = generated(Path(), train_samples=500, test_samples=20)
    assert found.name == "generated"
    assert found.train_images.shape == (500, 28, 28)
    assert 0.2 < (found.train_images > 0).mean() < 0.3
    assert set(found.train_labels) == set(range(10))
    other = generated(Path(), train_samples=20, test_samples=20, seed=1)
    assert not np.array_equal(other.train_images, found.train_images[:20])


def test_generated_refuses_no_samples() -> None:
    for value in (0, -1, 1.5, True):
        with pytest.raises(DataError, match=r"train_samples is .*; valid are whole numbers"):
            generated(Path(), train_samples=value)  # type: ignore[arg-type]
        with pytest.raises(DataError, match=r"generated_colour: test_samples is"):
            generated_colour(Path(), test_samples=value)  # type: ignore[arg-type]


def test_generated_colours_can_be_learned_but_differ() -> None:
    found = generated_colour(Path())
    assert found.name == "generated_colour"
    assert found.train_images.shape == (512, 32, 32, 3)
    assert set(found.train_labels) == set(range(10))
    train, test = (x.reshape(len(x), -1) / 255 for x in (found.train_images, found.test_images))
    centres = np.stack([train[found.train_labels == c].mean(axis=0) for c in range(10)])
    nearest = (np.sum(centres**2, axis=1) - 2 * test @ centres.T).argmin(axis=1)
    assert 0.8 < np.mean(nearest == found.test_labels) < 1
    assert len(np.unique(found.train_images, axis=0)) == 512
    assert np.mean((found.train_images == 0) | (found.train_images == 255)) < 0.01


def test_generated_radii_have_an_interior_minimum() -> None:
    """What the smoke scale needs: a network that learns gradually, with an inversion on the way."""
    found = generated(Path(), train_samples=1024, test_samples=1)
    pixels = found.train_images.reshape(1024, -1).astype(np.float64)
    std = pixels.std(axis=0)
    images = np.where(std > 0, (pixels - pixels.mean(axis=0)) / np.where(std > 0, std, 1), 0)
    labels = found.train_labels % 2
    random = np.random.default_rng(0)
    first, first_bias, second, second_bias = (
        random.uniform(-(fan**-0.5), fan**-0.5, shape)
        for fan, shape in ((784, (784, 20)), (784, 20), (20, (20, 2)), (20, 2))
    )
    errors, radii = [], []
    for _ in range(100):
        hidden = np.tanh(images @ first + first_bias)
        scores = hidden @ second + second_bias
        unit = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
        errors.append(np.mean(scores.argmax(axis=1) != labels))
        radii.append([np.sqrt(1 - np.sum(unit[labels == y].mean(axis=0) ** 2)) for y in (0, 1)])
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        slope = (chances - np.eye(2)[labels]) / len(labels)
        back = slope @ second.T * (1 - hidden**2)
        second -= 0.2 * hidden.T @ slope
        second_bias -= 0.2 * slope.sum(axis=0)
        first -= 0.2 * images.T @ back
        first_bias -= 0.2 * back.sum(axis=0)
    assert errors[0] > 0.4
    assert errors[-1] < 0.06
    assert 0.05 < errors[25] < 0.2
    for radius in np.array(radii).T:
        at = int(radius.argmin())
        assert 10 < at < 60
        assert radius[-1] > radius[at] + 0.02


# --- one's own files ----------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [(), (3,)])
def test_npz_round_trip(tmp_path: Path, channels: tuple[int, ...]) -> None:
    arrays = made_up(channels=channels)
    np.savez_compressed(tmp_path / "own.npz", **arrays)
    found = npz_dataset(tmp_path, path="own.npz")
    assert found.name == "own"
    for key, array in arrays.items():
        np.testing.assert_array_equal(getattr(found, key), array)
    absolute = npz_dataset(Path("elsewhere"), path=str(tmp_path / "own.npz"), name="other")
    assert absolute.name == "other"
    # The provenance goes into a manifest that must not depend on where the repository lies.
    assert str(tmp_path) not in str(absolute.provenance)


def test_npz_faults_are_named(tmp_path: Path) -> None:
    arrays = made_up()
    with pytest.raises(DataError, match=r"nothing\.npz does not exist"):
        npz_dataset(tmp_path, path="nothing.npz")
    np.savez(tmp_path / "part.npz", train_images=arrays["train_images"])
    with pytest.raises(DataError, match="lacks train_labels, test_images, test_labels"):
        npz_dataset(tmp_path, path="part.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "part.npz").read_bytes()[:50])
    with pytest.raises(DataError, match=r"cut\.npz cannot be read"):
        npz_dataset(tmp_path, path="cut.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DataError, match=r"text\.npz cannot be read"):
        npz_dataset(tmp_path, path="text.npz")
    np.savez(tmp_path / "objects.npz", **{**arrays, "test_labels": np.array([{}, 1, 2])})
    with pytest.raises(DataError, match=r"objects\.npz cannot be read"):
        npz_dataset(tmp_path, path="objects.npz")


def write_pictures(folder: Path, classes: dict[str, int], mode: str = "L") -> None:
    random = np.random.default_rng(4)
    for split in ("train", "test"):
        for name, count in classes.items():
            directory = folder / split / name
            directory.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (4, 3, 3), dtype=np.uint8)
                Image.fromarray(pixels).convert(mode).save(directory / f"{number}.png")


def test_image_folder(tmp_path: Path) -> None:
    write_pictures(tmp_path / "own", {"zebra": 2, "ant": 3})
    (tmp_path / "own" / "train" / "ant" / "notes.txt").write_text("no picture")
    found = image_folder(tmp_path, path="own")
    assert found.name == "own"
    assert found.train_images.shape == (5, 4, 3)
    assert found.train_labels.tolist() == [0, 0, 0, 1, 1]
    assert found.provenance["classes"] == ["ant", "zebra"]
    with Image.open(tmp_path / "own" / "train" / "zebra" / "1.png") as picture:
        np.testing.assert_array_equal(found.train_images[4], np.asarray(picture))


def test_image_folder_in_colour(tmp_path: Path) -> None:
    write_pictures(tmp_path / "own", {"a": 1, "b": 1}, "RGB")
    assert image_folder(tmp_path, path="own", colour="rgb").train_images.shape == (2, 4, 3, 3)
    assert image_folder(tmp_path, path="own").train_images.shape == (2, 4, 3)
    with pytest.raises(DataError, match="valid are: grey, rgb"):
        image_folder(tmp_path, path="own", colour="blue")


def test_image_folder_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none/train does not exist"):
        image_folder(tmp_path, path="none")
    own = tmp_path / "own"
    write_pictures(own, {"a": 1, "b": 1})
    Image.fromarray(np.zeros((5, 3), np.uint8)).save(own / "train" / "b" / "9.png")
    with pytest.raises(DataError, match=r"b/9\.png is 5 x 3 pixels .* 4 x 3"):
        image_folder(tmp_path, path="own")
    (own / "train" / "b" / "9.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"b/9\.png cannot be read as a picture"):
        image_folder(tmp_path, path="own")
    (own / "train" / "b" / "9.png").unlink()
    (own / "test" / "c").mkdir()
    with pytest.raises(DataError, match="holds c, which train/ lacks"):
        image_folder(tmp_path, path="own")
    (own / "test" / "c").rmdir()
    for picture in (own / "test").rglob("*.png"):
        picture.unlink()
    with pytest.raises(DataError, match="test holds no pictures"):
        image_folder(tmp_path, path="own")


# --- the common form ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"train_images": np.zeros((5, 4, 3))}, "float64 of 3 dimensions"),
        ({"test_images": np.zeros((3, 12), np.uint8)}, "uint8 of 2 dimensions"),
        ({"train_labels": np.zeros(5)}, "train_labels are float64"),
        ({"train_labels": np.zeros(4, int)}, "5 train_images but 4 train_labels"),
        ({"test_labels": np.array([0, -1, 2])}, "test_labels hold -1"),
        ({"test_images": np.zeros((3, 5, 3), np.uint8)}, "4 x 3 and test images 5 x 3"),
        (
            {"test_images": np.zeros((0, 4, 3), np.uint8), "test_labels": np.zeros(0, int)},
            "there are no test images",
        ),
    ],
)
def test_image_dataset_refuses(change: dict[str, np.ndarray], reason: str) -> None:
    with pytest.raises(DataError, match=f"own: .*{reason}"):
        ImageDataset("own", **{**made_up(), **change})


@pytest.mark.parametrize("channels", [(), (3,)])
def test_store_dataset(channels: tuple[int, ...]) -> None:
    arrays = made_up(channels=channels)
    found = datasets.to_store_dataset(ImageDataset("own", **arrays, provenance={"origin": "here"}))
    assert found["images"].dims == ("sample", "row", "column", "channel")[: 3 + len(channels)]
    assert [found[name].dtype for name in ("images", "labels", "split")] == ["u1", "i8", "u1"]
    assert found["split"].values.tolist() == [0] * 5 + [1] * 3
    np.testing.assert_array_equal(found["images"].values[5:], arrays["test_images"])
    np.testing.assert_array_equal(found["labels"].values[:5], arrays["train_labels"])
    assert found.attrs["name"] == "own"
    assert found.attrs["origin"]["origin"] == "here"
    assert set(found.attrs["provenance"]["sha256"]) == set(arrays)


def points(train: int = 5, test: int = 3) -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    return {
        "train_points": random.standard_normal((train, 4)).astype(np.float32),
        "train_labels": np.arange(train) % 3,
        "test_points": random.standard_normal((test, 4)).astype(np.float32),
        "test_labels": np.arange(test) % 3,
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"train_points": np.zeros((5, 4))}, "float64 of 2 dimensions; valid are float32"),
        ({"test_points": np.zeros((3, 2, 2), np.float32)}, "float32 of 3 dimensions"),
        ({"test_points": np.full((3, 4), np.nan, np.float32)}, "test_points hold values that are"),
        ({"train_points": np.full((5, 4), np.inf, np.float32)}, "not finite"),
        ({"test_points": np.zeros((3, 5), np.float32)}, "training points are 4 and test points 5"),
        ({"train_labels": np.zeros(4, int)}, "5 train_points but 4 train_labels"),
        ({"train_points": np.zeros((5, 0), np.float32)}, "there are no train points"),
        ({"test_labels": np.zeros(3)}, "test_labels are float64"),
    ],
)
def test_point_dataset_refuses(change: dict[str, np.ndarray], reason: str) -> None:
    with pytest.raises(DataError, match=f"own: .*{reason}"):
        PointDataset("own", **{**points(), **change})


def test_store_dataset_of_points(tmp_path: Path) -> None:
    arrays = points()
    found = datasets.to_store_dataset(PointDataset("own", **arrays, provenance={"origin": "here"}))
    write_dataset(found, tmp_path, {})
    stored = open_store(tmp_path, lazy=False)
    assert stored["points"].dims == ("sample", "feature")
    assert [stored[name].dtype for name in ("points", "labels", "split")] == ["f4", "i8", "u1"]
    np.testing.assert_array_equal(stored["points"][:5], arrays["train_points"])
    np.testing.assert_array_equal(stored["points"][5:], arrays["test_points"])
    assert stored["split"].values.tolist() == [0] * 5 + [1] * 3
    assert set(found.attrs["provenance"]["sha256"]) == set(arrays)


# --- names and entries --------------------------------------------------------------------------


def test_load_by_name(tmp_path: Path) -> None:
    found = datasets.load("generated", tmp_path, train_samples=7, test_samples=2)
    assert found.train_images.shape == (7, 28, 28)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["MNIST", "fashion", "cifar", "", "digits"])
def test_unknown_name_lists_the_valid_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="cifar10, cifar100, fashion_mnist, generated, "):
        datasets.load(name)


def test_loader_of_ones_own(tmp_path: Path) -> None:
    loader = tmp_path / "my_letters.py"
    loader.write_text(
        "import numpy as np\n"
        "from pipeline.data.images import ImageDataset\n"
        "def letters(root, *, samples=4):\n"
        "    images = np.zeros((samples, 2, 2), np.uint8)\n"
        "    labels = np.arange(samples)\n"
        "    return ImageDataset('letters', images, labels, images, labels)\n"
        "def nothing(root):\n"
        "    return 3\n"
    )
    entry = {"loader": f"{loader}:letters", "options": {"samples": 6}}
    assert len(datasets.load_entry(entry, tmp_path, ["folder"]).train_images) == 6
    stated = {**entry, "samples": {"train": 6, "test": 6}, "shape": [2, 2]}
    assert len(datasets.load_entry(stated, tmp_path).train_images) == 6
    with pytest.raises(ConfigError, match=r"states shape: \[3, 3\], but letters has \[2, 2\]"):
        datasets.load_entry({**stated, "shape": [3, 3]}, tmp_path)
    with pytest.raises(ConfigError, match="no option 'sample'; its options: samples"):
        datasets.load_entry({**entry, "options": {"sample": 6}}, tmp_path)
    with pytest.raises(
        DataError, match="must be an ImageDataset, a PointDataset or a PictureDataset"
    ):
        datasets.load_entry({"loader": f"{loader}:nothing"}, tmp_path)


def test_stated_classes_and_shape_of_vectors(tmp_path: Path) -> None:
    options = {"classes": 4, "train_points": 2, "test_points": 1, "features": 9, "dimension": 3}
    entry = {"loader": "pipeline.data.spheres:spheres", "options": options}
    stated = {**entry, "samples": {"train": 8, "test": 4}, "shape": [9]}
    for classes in (None, 4, 7):  # a class may have no samples
        datasets.load_entry({**stated, "classes": classes}, tmp_path)
    with pytest.raises(ConfigError, match="states classes: 3, but spheres has at least 4: correct"):
        datasets.load_entry({**stated, "classes": 3}, tmp_path)
    with pytest.raises(ConfigError, match=r"states shape: \[3, 3\], but spheres has \[9\]"):
        datasets.load_entry({**stated, "shape": [3, 3]}, tmp_path)
    for classes in ("4", 0, True, 4.0):
        with pytest.raises(ConfigError, match=r"classes is .*; valid are whole numbers from 1"):
            datasets.load_entry({**stated, "classes": classes}, tmp_path)


@pytest.mark.parametrize("entry", [{}, {"options": {}}, {"loader": "a:b", "option": {}}])
def test_faulty_entry(entry: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="keys loader, options"):
        datasets.load_entry(entry)


def test_sources_are_no_option(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no option 'sources'"):
        datasets.load_entry(
            {"loader": "pipeline.data.idx:mnist", "options": {"sources": ["folder"]}}, tmp_path
        )


def test_loading_imports_no_heavy_package() -> None:
    import subprocess

    code = (
        "import sys; from pipeline.data import datasets, preprocessing, idx, cifar, mirrors\n"
        "heavy = {'torch', 'torchvision', 'sklearn', 'matplotlib', 'xarray', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
