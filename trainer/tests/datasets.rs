//! Data sets in the formats that others publish, from the small files of `scripts/dataset_files.py`, and what is said of damaged ones.

use std::{
    fs,
    path::{Path, PathBuf},
};

use image::{Rgb, RgbImage};
use tempfile::{TempDir, tempdir};
use unbraid_trainer::data::{self, Dataset};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/datasets").join(name)
}

fn open(kind: &str, name: &str) -> Box<dyn Dataset> {
    data::open(&format!("{kind}:{}", file(name).display())).unwrap()
}

#[track_caller]
fn refused(spec: &str, words: &[&str]) {
    let error = data::open(spec).err().unwrap_or_else(|| panic!("{spec} opens")).to_string();
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
}

/// The image that the script writes: (7·index + 31·row + 11·column + 101·channel) mod 251.
fn written(index: usize, height: usize, width: usize, channels: usize) -> Vec<u8> {
    let pixel = |i: usize| {
        let (row, column, channel) = (i / channels / width, i / channels % width, i % channels);
        ((7 * index + 31 * row + 11 * column + 101 * channel) % 251) as u8
    };
    (0..height * width * channels).map(pixel).collect()
}

#[track_caller]
fn has_written_images(dataset: &dyn Dataset, height: usize, width: usize, channels: usize) {
    // From the back: nothing depends on the order in which images are asked for.
    for index in (0..dataset.len()).rev() {
        assert_eq!(dataset.batch(&[index]).unwrap(), written(index, height, width, channels), "image {index}");
    }
}

#[track_caller]
fn has_factors(dataset: &dyn Dataset, factors: &[(&str, usize)]) {
    let found: Vec<_> = dataset.factors().iter().map(|factor| (&*factor.name, factor.size)).collect();
    assert_eq!(found, factors);
}

/// Every image is found again by its factors.
#[track_caller]
fn is_grid(dataset: &dyn Dataset) {
    assert!(dataset.is_grid());
    assert_eq!(dataset.factors().iter().map(|factor| factor.size).product::<usize>(), dataset.len());
    for index in 0..dataset.len() {
        assert_eq!(dataset.index_of(&dataset.factor_values(index)), Some(index));
    }
}

/// The folder of pictures, to be damaged.
fn pictures() -> TempDir {
    let folder = tempdir().unwrap();
    fs::create_dir_all(folder.path().join("more/deep")).unwrap();
    for name in ["a.png", "more/b.bmp", "more/c.WebP", "more/deep/d.jpg", "notes.txt", "factors.csv"] {
        fs::copy(file("pictures").join(name), folder.path().join(name)).unwrap();
    }
    folder
}

#[test]
fn the_file_of_dsprites_works_as_it_is() {
    let dataset = open("npz", "dsprites.npz");
    assert_eq!((dataset.len(), dataset.image().to_string()), (48, "8 x 8 x 1 (H x W x C)".into()));
    // The color never changes.
    has_factors(&*dataset, &[("shape", 2), ("scale", 2), ("rotation", 3), ("x", 2), ("y", 2)]);
    is_grid(&*dataset);
    assert_eq!(dataset.factor_values(13), [0, 1, 0, 0, 1]);
    for index in 0..48 {
        // 0 and 1 in the file are black and white.
        let expected: Vec<u8> = written(index, 8, 8, 1).iter().map(|byte| byte % 2 * 255).collect();
        assert_eq!(dataset.batch(&[index]).unwrap(), expected);
    }
}

#[test]
fn an_uncompressed_npz_with_labels_that_are_no_grid() {
    let dataset = open("npz", "stored.npz");
    has_written_images(&*dataset, 6, 5, 3);
    has_factors(&*dataset, &[("size", 2), ("angle", 3)]);
    let values: Vec<_> = (0..5).map(|index| dataset.factor_values(index)).collect();
    assert_eq!(values, [[1, 1], [0, 1], [1, 0], [1, 1], [0, 2]]);
    assert!(!dataset.is_grid() && dataset.index_of(&[1, 1]).is_none());
}

#[test]
fn an_npz_without_labels() {
    let dataset = open("npz", "unlabeled.npz");
    assert_eq!(dataset.len(), 600);
    has_written_images(&*dataset, 4, 4, 1);
    assert!(dataset.factors().is_empty() && !dataset.is_grid());
    assert!(dataset.factor_values(7).is_empty());
}

#[test]
fn mpi3d_is_known_by_how_many_images_it_has() {
    let dataset = open("mpi3d", "mpi3d.npz");
    assert_eq!(dataset.len(), 460_800);
    has_factors(
        &*dataset,
        &[
            ("object color", 4),
            ("object shape", 4),
            ("object size", 2),
            ("camera height", 3),
            ("background color", 3),
            ("horizontal axis", 40),
            ("vertical axis", 40),
        ],
    );
    assert_eq!(dataset.index_of(&[0, 0, 0, 0, 0, 2, 5]), Some(85));
    assert_eq!(dataset.index_of(&[3, 3, 1, 2, 2, 39, 39]), Some(460_799));
    assert_eq!(dataset.index_of(&[4, 0, 0, 0, 0, 0, 0]), None);
    assert_eq!(dataset.batch(&[460_799, 0]).unwrap(), [7, 8, 9, 0, 0, 0]);
    let other = file("stored.npz");
    refused(&format!("mpi3d:{}", other.display()), &["stored.npz: images: found 5", "1036800 or 460800"]);
}

#[test]
fn the_file_of_3d_shapes_works_as_it_is() {
    let dataset = open("hdf5", "3dshapes.h5");
    has_written_images(&*dataset, 8, 8, 3);
    let factors =
        [("floor hue", 10), ("wall hue", 10), ("object hue", 10), ("scale", 8), ("shape", 4), ("orientation", 15)];
    has_factors(&*dataset, &factors);
    assert_eq!(dataset.factor_values(17), [7, 7, 7, 1, 1, 2]);
    assert!(!dataset.is_grid());
}

#[test]
fn other_hdf5_files_have_numbered_factors() {
    let dataset = open("hdf5", "plain.h5");
    assert_eq!(dataset.len(), 300);
    has_written_images(&*dataset, 3, 2, 1);
    has_factors(&*dataset, &[("factor 0", 3), ("factor 1", 100)]);
    // A grid in another order than that of its factors.
    is_grid(&*dataset);
    assert_eq!(dataset.factor_values(0), [2, 99]);
}

#[test]
fn cars_are_read_from_matlab_files() {
    let dataset = open("cars3d", "cars");
    has_written_images(&*dataset, 6, 5, 3);
    has_factors(&*dataset, &[("car", 2), ("azimuth", 3), ("elevation", 2)]);
    is_grid(&*dataset);
    assert_eq!(dataset.factor_values(9), [1, 1, 1]);
}

#[test]
fn small_norb_joins_both_parts_plain_and_gzipped() {
    let dataset = open("smallnorb", "norb");
    assert_eq!(dataset.len(), 16);
    has_written_images(&*dataset, 4, 3, 1);
    // One elevation and one light: no factors. Instances 4 and 6 are in one part, 0 and 5 in the other.
    has_factors(&*dataset, &[("category", 2), ("instance", 4), ("azimuth", 2)]);
    is_grid(&*dataset);
    assert_eq!(dataset.factor_values(2), [0, 3, 0]);
}

#[test]
fn pictures_in_folders_have_a_table_of_factors() {
    let dataset = open("folder", "pictures");
    assert_eq!((dataset.len(), dataset.image().to_string()), (4, "12 x 10 x 3 (H x W x C)".into()));
    // The table's order: d.jpg, a.png, b.bmp, c.WebP.
    for (index, image) in [(1, 0), (2, 1), (3, 2)] {
        assert_eq!(dataset.batch(&[index]).unwrap(), written(image, 12, 10, 3));
    }
    let smooth = dataset.batch(&[0]).unwrap();
    assert!(smooth.iter().enumerate().all(|(i, &byte)| byte.abs_diff((i / 30 * 20) as u8) < 8), "{smooth:?}");
    has_factors(&*dataset, &[("kind", 2), ("level", 2)]);
    is_grid(&*dataset);
    assert_eq!(dataset.factor_values(0), [1, 1]);
}

#[test]
fn pictures_without_a_table_are_in_the_order_of_their_paths() {
    let folder = pictures();
    fs::remove_file(folder.path().join("factors.csv")).unwrap();
    fs::write(folder.path().join(".hidden.png"), "no picture").unwrap();
    let dataset = data::open(&format!("folder:{}", folder.path().display())).unwrap();
    assert!(dataset.factors().is_empty());
    assert_eq!(dataset.len(), 4);
    for index in 0..3 {
        assert_eq!(dataset.batch(&[index]).unwrap(), written(index, 12, 10, 3));
    }
}

#[test]
fn pictures_are_cropped_resized_and_made_gray() {
    let folder = tempdir().unwrap();
    // 20 x 40: white, in the middle a black square with a gray one in it.
    let picture = RgbImage::from_fn(40, 20, |x, y| {
        let within = |border: u32| (border + 10..30 - border).contains(&x) && (border..20 - border).contains(&y);
        Rgb([[255, 255, 255], [0, 0, 0], [90, 120, 90]][usize::from(within(0)) + usize::from(within(5))])
    });
    picture.save(folder.path().join("wide.png")).unwrap();
    let image = |options: &str| {
        let dataset = data::open(&format!("folder:{}?{options}", folder.path().display())).unwrap();
        let shape = dataset.image();
        ([shape.height, shape.width, shape.channels], dataset.batch(&[0]).unwrap())
    };
    // White is cut off on both sides, gray is half of what is left.
    let (shape, bytes) = image("size=4&gray");
    assert_eq!(shape, [4, 4, 1]);
    assert!(bytes[0] < 20 && bytes[5] > 80 && bytes.iter().all(|&byte| byte < 120), "{bytes:?}");
    // Nothing is cut off where it is stretched.
    let (shape, bytes) = image("size=4&fit=stretch");
    assert_eq!(shape, [4, 4, 3]);
    assert!(bytes[0] > 200 && bytes[11] > 200 && bytes[3] < 60, "{bytes:?}");
    assert_eq!(image("crop=10x8"), ([10, 8, 3], [90, 120, 90].repeat(80)));
    assert_eq!(image("crop=10&size=3x2"), ([3, 2, 3], [90, 120, 90].repeat(6)));
    refused(&format!("folder:{}?crop=21", folder.path().display()), &["crop = 21", "20 x 40"]);
    // Other data too: gray weighs red, green and blue.
    let gray = data::open(&format!("npz:{}?crop=2&gray", file("stored.npz").display())).unwrap();
    let (bytes, whole) = (gray.batch(&[3]).unwrap(), written(3, 6, 5, 3));
    // The middle of 6 x 5 starts at (2, 1).
    let rgb = |i: usize| f64::from(whole[(2 * 5 + 1) * 3 + i]);
    let luma = 0.2126 * rgb(0) + 0.7152 * rgb(1) + 0.0722 * rgb(2);
    assert!(bytes.len() == 4 && (f64::from(bytes[0]) - luma).abs() <= 1.0, "{bytes:?}, {luma}");
    refused("scenes?gray", &["dataset = scenes", "data from files"]);
}

#[test]
fn files_that_are_not_what_they_should_be_are_named() {
    let bad = |kind: &str, name: &str| format!("{kind}:{}", file("bad").join(name).display());
    for (kind, name, words) in [
        ("npz", "missing.npz", ["missing.npz: ", "No such file"]),
        ("npz", "no_images.h5", ["zip directory: found", "a whole npz file"]),
        ("npz", "no_images.npz", ["arrays: found pictures, labels", "expected images or imgs"]),
        ("npz", "float_images.npz", ["images, type: found '<f4'", "'|u1' (uint8)"]),
        ("npz", "flat_images.npz", ["images, shape: found [2, 4]", "(images, height, width)"]),
        ("npz", "five_channels.npz", ["images, shape: found [2, 4, 4, 5]", "1 to 4"]),
        ("npz", "fortran.npz", ["images, order: found Fortran's", "C's"]),
        ("npz", "few_labels.npz", ["labels, shape: found [2, 1]", "(3, 1 to 64)"]),
        ("npz", "word_labels.npz", ["labels, type: found '<U1'", "numbers"]),
        ("npz", "nan_labels.npz", ["factor factor 0 of image 1: found NaN", "a number"]),
        ("npz", "few_names.npz", ["factor_names: found 1 words", "2, one a factor"]),
        ("hdf5", "missing.h5", ["missing.h5: ", "No such file"]),
        ("hdf5", "no_images.npz", ["no_images.npz: file: found", "an HDF5 file"]),
        ("hdf5", "no_images.h5", ["no_images.h5: images: found", "a data set of this name"]),
        ("hdf5", "float_images.h5", ["images, type: found", "unsigned bytes"]),
        ("hdf5", "flat_images.h5", ["images, shape: found [2, 4]", "(images, height, width)"]),
        ("hdf5", "few_labels.h5", ["labels, shape: found [2, 1]", "(3, 1 to 64)"]),
        ("folder", "missing", ["missing: ", "No such file"]),
        ("folder", "", ["folder: found none", "png, jpg, jpeg, webp, bmp"]),
        ("cars3d", "", ["folder: found no .mat file", "one for each car"]),
        ("cars3d", "cars", ["car.mat: arrays: found pictures", "im among them"]),
        ("smallnorb", "", ["training-dat.mat: ", "No such file"]),
    ] {
        refused(&bad(kind, name), &words);
    }
}

/// A copy of a file, changed.
fn changed(folder: &TempDir, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = fs::read(file(name)).unwrap();
    change(&mut bytes);
    let path = folder.path().join(Path::new(name).file_name().unwrap());
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn truncated_and_damaged_files_are_named() {
    let folder = tempdir().unwrap();
    let cut = changed(&folder, "unlabeled.npz", |bytes| bytes.truncate(1000));
    refused(&format!("npz:{}", cut.display()), &["unlabeled.npz: zip directory", "a whole npz file"]);
    // The stream of the images, which is unpacked when the first of them is asked for.
    let flipped = changed(&folder, "unlabeled.npz", |bytes| bytes[700..720].fill(0));
    let dataset = data::open(&format!("npz:{}", flipped.display())).unwrap();
    for index in [3, 599] {
        let error = dataset.batch(&[index]).unwrap_err().to_string();
        assert!(error.contains("unlabeled.npz: images: found") && error.contains("a whole npz file"), "{error}");
    }
    refused(&format!("npz:{}?skip-bad", flipped.display()), &["no image can be read; the first:", "unlabeled.npz"]);

    let cut = changed(&folder, "3dshapes.h5", |bytes| bytes.truncate(4000));
    let read = data::open(&format!("hdf5:{}", cut.display())).and_then(|dataset| dataset.batch(&[0]));
    let error = read.unwrap_err().to_string();
    assert!(error.contains("3dshapes.h5: ") && error.contains("expected"), "{error}");
    // The first chunk, of which zlib's header tells.
    let flipped = changed(&folder, "3dshapes.h5", |bytes| {
        let chunk = bytes.windows(2).position(|pair| pair == [0x78, 0x5e]).unwrap();
        bytes[chunk + 20..chunk + 40].fill(0x55);
    });
    let dataset = data::open(&format!("hdf5:{}", flipped.display())).unwrap();
    let error = dataset.batch(&[0]).unwrap_err().to_string();
    assert!(error.contains("3dshapes.h5: images 0 to 29: found") && error.contains("chunks"), "{error}");

    for part in ["cars/car_001_mesh.mat", "cars/car_002_mesh.mat"] {
        fs::copy(file(part), folder.path().join(Path::new(part).file_name().unwrap())).unwrap();
    }
    changed(&folder, "cars/car_002_mesh.mat", |bytes| bytes.truncate(400));
    let dataset = data::open(&format!("cars3d:{}", folder.path().display())).unwrap();
    assert!(dataset.batch(&[5]).is_ok());
    let error = dataset.batch(&[6]).unwrap_err().to_string();
    assert!(error.contains("car_002_mesh.mat: arrays: found none, expected im"), "{error}");
    let left = data::open(&format!("cars3d:{}?skip-bad", folder.path().display())).unwrap();
    assert_eq!((left.len(), left.skipped().len(), left.is_grid()), (6, 6, false));
}

#[test]
fn a_small_norb_of_the_wrong_length_or_type_is_named() {
    const TRAINING: &str = "norb/smallnorb-5x46789x9x18x6x2x96x96-training";
    for (kind, change, words) in [
        ("dat", 0, ["training-dat.mat: bytes: found 215", "expected 216, for 8 pairs"]),
        ("dat", 1, ["training-dat.mat: magic number: found 0x1e3d4c00", "0x1e3d4c55"]),
        ("cat", 0, ["training-cat.mat: data: found", "a whole matrix file"]),
        ("info", 8, ["training-info.mat: dimensions: found [9, 4]", "[8, 4]"]),
    ] {
        let folder = tempdir().unwrap();
        for entry in fs::read_dir(file("norb")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        changed(&folder, &format!("{TRAINING}-{kind}.mat"), |bytes| match change {
            0 => bytes.truncate(bytes.len() - 1),
            1 => bytes[0] = 0,
            place => bytes[place] += 1,
        });
        refused(&format!("smallnorb:{}", folder.path().display()), &words);
    }
}

#[test]
fn tables_that_do_not_match_the_pictures_are_refused() {
    for (table, words) in [
        ("file,kind\na.png,1\nno.png,2\n", ["factors.csv: line 3: found no.png", "a picture below the folder"]),
        ("file,kind\na.png,1\na.png,2\n", ["line 3: found a.png", "named once"]),
        ("file,kind\na.png,1\n", ["lines: found no line for more/b.bmp", "one for each picture"]),
        ("file,kind\na.png,1,2\n", ["table: found", "as many in each line"]),
        ("name,kind\na.png,1\n", ["header: found name,kind", "file,FACTOR,..."]),
        ("file\na.png\n", ["header: found file", "file,FACTOR,..."]),
    ] {
        let folder = pictures();
        fs::write(folder.path().join("factors.csv"), table).unwrap();
        refused(&format!("folder:{}", folder.path().display()), &words);
    }
}

#[test]
fn a_damaged_picture_is_named_or_skipped_and_counted() {
    let folder = pictures();
    let path = folder.path().join("more/b.bmp");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..200]).unwrap();
    let spec = format!("folder:{}", folder.path().display());
    let dataset = data::open(&spec).unwrap();
    assert_eq!(dataset.len(), 4);
    let error = dataset.batch(&[1, 2]).unwrap_err().to_string();
    assert!(error.contains("b.bmp: image 2: found") && error.contains("an image that can be read"), "{error}");

    let left = data::open(&format!("{spec}?skip-bad")).unwrap();
    assert_eq!((left.len(), left.skipped().len()), (3, 1));
    assert!(left.skipped()[0].contains("b.bmp"), "{:?}", left.skipped());
    // The others keep their labels, which are no grid any more.
    assert_eq!(left.batch(&[2]).unwrap(), written(2, 12, 10, 3));
    assert_eq!((left.factor_values(2), left.is_grid(), left.index_of(&[1, 0])), (vec![1, 0], false, None));

    // A picture of another size is no damage that a size could not mend.
    fs::copy(file("pictures/a.png"), &path).unwrap();
    RgbImage::new(3, 3).save(folder.path().join("a.png")).unwrap();
    let error = data::open(&spec).unwrap().batch(&[1]).unwrap_err().to_string();
    assert!(error.contains("a.png: image 1: found 3 x 3 x 3") && error.contains("--size"), "{error}");
    assert!(data::open(&format!("{spec}?size=8")).unwrap().batch(&[0, 1, 2, 3]).is_ok());
}
