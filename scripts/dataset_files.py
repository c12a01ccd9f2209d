"""Writes the small data sets of trainer/tests/datasets.rs into trainer/tests/data/datasets, in the formats that others publish.

    pip install numpy h5py scipy pillow
    python scripts/dataset_files.py
"""

import gzip
import io
import pathlib
import shutil
import zipfile

import h5py
import numpy as np
import scipy.io
from PIL import Image

FOLDER = pathlib.Path(__file__).parent.parent / "trainer/tests/data/datasets"


def pixels(n, height, width, channels, start=0):
    """Image i has (7·i + 31·row + 11·column + 101·channel) mod 251."""
    i, row, column, channel = np.ogrid[start : start + n, 0:height, 0:width, 0:channels]
    return ((7 * i + 31 * row + 11 * column + 101 * channel) % 251).astype(np.uint8)


def grid(*sizes):
    """All combinations of values, the last factor fastest."""
    return np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), axis=-1).reshape(-1, len(sizes))


def npz(path, arrays, compressed=True):
    """As np.savez, with the same bytes each time."""
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.save(data, array, allow_pickle=True)
            archive.writestr(zipfile.ZipInfo(name + ".npy"), data.getvalue(), method)


def make_npz():
    # The arrays of dSprites' file: the color never changes, the order is the grid's.
    classes = grid(1, 2, 2, 3, 2, 2).astype(np.int64)
    images = (pixels(len(classes), 8, 8, 1)[..., 0] % 2).astype(np.uint8)
    metadata = np.array({"title": "none", "latents_names": ("color", "shape")}, dtype=object)
    values = classes.astype(np.float64) / 2
    arrays = {"metadata": metadata, "imgs": images, "latents_classes": classes, "latents_values": values}
    npz(FOLDER / "dsprites.npz", arrays)
    # Uncompressed, colors, labels in no order and with a combination missing.
    labels = np.array([[0.5, 3], [0.25, 3], [0.5, -1], [0.5, 3], [0.25, 7]])
    names = np.array(["size", "angle"])
    npz(FOLDER / "stored.npz", {"labels": labels, "images": pixels(5, 6, 5, 3), "factor_names": names}, False)
    npz(FOLDER / "unlabeled.npz", {"images": pixels(600, 4, 4, 1)[..., 0]})
    # The images of MPI3D with complex shapes, one pixel each.
    images = np.zeros((460_800, 1, 1, 3), np.uint8)
    images[-1] = [[[7, 8, 9]]]
    npz(FOLDER / "mpi3d.npz", {"images": images})

    bad = FOLDER / "bad"
    npz(bad / "no_images.npz", {"pictures": pixels(2, 2, 2, 1), "labels": np.zeros((2, 1))})
    npz(bad / "float_images.npz", {"images": np.zeros((2, 2, 2), np.float32)})
    npz(bad / "flat_images.npz", {"images": np.zeros((2, 4), np.uint8)})
    npz(bad / "five_channels.npz", {"images": np.zeros((2, 4, 4, 5), np.uint8)})
    npz(bad / "fortran.npz", {"images": np.asfortranarray(pixels(2, 3, 4, 3))})
    npz(bad / "few_labels.npz", {"images": pixels(3, 2, 2, 1), "labels": np.zeros((2, 1))})
    npz(bad / "word_labels.npz", {"images": pixels(2, 2, 2, 1), "labels": np.array([["a"], ["b"]])})
    npz(bad / "nan_labels.npz", {"images": pixels(2, 2, 2, 1), "labels": np.array([[0.0], [np.nan]])})
    names = np.array(["only one"])
    npz(bad / "few_names.npz", {"images": pixels(2, 2, 2, 1), "labels": np.eye(2), "factor_names": names})


def make_hdf5():
    # The arrays of 3D Shapes' file: all values of its factors, not all combinations.
    i = np.arange(30)[:, None]
    labels = (i % np.array([10, 10, 10, 8, 4, 15])) / np.array([10, 10, 10, 7, 1, 14])
    with h5py.File(FOLDER / "3dshapes.h5", "w", track_order=False) as file:
        # Chunks that cut images and leave a rest.
        file.create_dataset("images", data=pixels(30, 8, 8, 3), chunks=(7, 3, 8, 2), compression="gzip")
        file.create_dataset("labels", data=labels)
    with h5py.File(FOLDER / "plain.h5", "w") as file:
        file["images"] = pixels(300, 3, 2, 1)[..., 0]
        file["factors"] = grid(3, 100)[::-1].astype(np.int16)

    bad = FOLDER / "bad"
    with h5py.File(bad / "no_images.h5", "w") as file:
        file["pictures"] = pixels(2, 2, 2, 1)
    with h5py.File(bad / "float_images.h5", "w") as file:
        file["images"] = np.zeros((2, 2, 2), np.float32)
    with h5py.File(bad / "flat_images.h5", "w") as file:
        file["images"] = np.zeros((2, 4), np.uint8)
    with h5py.File(bad / "few_labels.h5", "w") as file:
        file["images"] = pixels(3, 2, 2, 1)
        file["labels"] = np.zeros((2, 1))


def make_folder():
    folder = FOLDER / "pictures"
    (folder / "more/deep").mkdir(parents=True)
    Image.fromarray(pixels(1, 12, 10, 3)[0]).save(folder / "a.png")
    Image.fromarray(pixels(1, 12, 10, 3, 1)[0]).save(folder / "more/b.bmp")
    Image.fromarray(pixels(1, 12, 10, 3, 2)[0]).save(folder / "more/c.WebP", lossless=True)
    # JPEG keeps what is smooth.
    ramp = (np.ogrid[0:12, 0:10, 0:3][0] * 20 + np.zeros((12, 10, 3))).astype(np.uint8)
    Image.fromarray(ramp).save(folder / "more/deep/d.jpg", quality=95)
    (folder / "notes.txt").write_text("No picture.\n")
    (folder / "factors.csv").write_text(
        "file,kind,level\nmore/deep/d.jpg,smooth,10\na.png,rough,9\nmore/b.bmp,rough,10\nmore/c.WebP,smooth,9\n"
    )


def make_cars3d():
    folder = FOLDER / "cars"
    folder.mkdir()
    for car in range(2):
        # (azimuth, elevation, height, width, channels), as image 6·car + 2·azimuth + elevation.
        views = pixels(6, 6, 5, 3, 6 * car).reshape(3, 2, 6, 5, 3)
        im = views.transpose(2, 3, 4, 0, 1)
        scipy.io.savemat(folder / f"car_{car + 1:03}_mesh.mat", {"im": im}, do_compression=car == 0)
    (FOLDER / "bad/cars").mkdir()
    scipy.io.savemat(FOLDER / "bad/cars/car.mat", {"pictures": np.zeros((2, 2), np.uint8)})


def matrix(magic, array):
    dims = list(array.shape) + [1] * max(0, 3 - array.ndim)
    return np.array([magic, array.ndim, *dims], "<i4").tobytes() + array.tobytes()


def make_small_norb():
    folder = FOLDER / "norb"
    folder.mkdir()
    for part, instances in [("46789x9x18x6x2x96x96-training", [4, 6]), ("01235x9x18x6x2x96x96-testing", [0, 5])]:
        labels = grid(2, 2, 1, 2, 1).astype("<i4")
        labels[:, 1] = np.array(instances)[labels[:, 1]]
        labels[:, 3] *= 20
        testing = part.endswith("testing")
        left = pixels(8, 4, 3, 1, 8 * testing)[..., 0]
        pairs = np.stack([left, np.zeros_like(left)], axis=1)
        for kind, content in [
            ("dat", matrix(0x1E3D4C55, pairs)),
            ("cat", matrix(0x1E3D4C54, labels[:, 0].copy())),
            ("info", matrix(0x1E3D4C54, labels[:, 1:].copy())),
        ]:
            name = f"smallnorb-5x{part}-{kind}.mat"
            if testing:
                (folder / (name + ".gz")).write_bytes(gzip.compress(content, mtime=0))
            else:
                (folder / name).write_bytes(content)


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "bad").mkdir(parents=True)
    make_npz()
    make_hdf5()
    make_folder()
    make_cars3d()
    make_small_norb()
