//! Which pictures a model takes.

use std::fs;

use image::{DynamicImage, GrayImage, Luma};
use unbraid::writer::FileSpec;

use crate::bench::Bench;
use crate::networks;

#[test]
fn models_of_all_channel_counts_take_and_give_pictures() {
    for channels in 1..=4 {
        let fits =
            |spec: &FileSpec| spec.image.channels == channels && !spec.encoder.is_empty() && !spec.decoder.is_empty();
        let bench = Bench::new(&(0..).map(networks::random).find(fits).unwrap());
        let code = bench.encode(&bench.photo());
        bench.run("encode model photo.png -o code.json").quiet();
        bench.run("decode model --code code.json -o out.png").quiet();
        let picture = bench.picture("out.png");
        assert_eq!(usize::from(picture.color().channel_count()), channels);
        assert_eq!(picture.into_bytes(), bench.decode(&code));
    }
}

/// A gray 8x8 picture.
fn gray() -> DynamicImage {
    DynamicImage::ImageLuma8(GrayImage::from_fn(8, 8, |x, y| Luma([(x * 30 + y) as u8])))
}

#[test]
fn pictures_that_lose_nothing_are_taken_silently() {
    let bench = Bench::tiny();
    gray().save(bench.path("gray.png")).unwrap();
    let expected = bench.run("encode model gray.png").quiet();
    for (name, picture) in
        [("rgb.png", gray().into_rgb8().into()), ("rgba.png", DynamicImage::from(gray().into_rgba8()))]
    {
        picture.save(bench.path(name)).unwrap();
        assert_eq!(bench.run(&format!("encode model {name}")).quiet(), expected);
    }
}

#[test]
fn other_pictures_need_resize() {
    let bench = Bench::tiny();
    let mut color = gray().into_rgba8();
    color.get_pixel_mut(3, 3).0 = [200, 0, 0, 255];
    color.save(bench.path("color.png")).unwrap();
    color.get_pixel_mut(3, 3).0 = [9, 9, 9, 0];
    color.save(bench.path("clear.png")).unwrap();
    gray().into_luma16().save(bench.path("deep.png")).unwrap();
    gray().resize_exact(24, 16, image::imageops::FilterType::Nearest).save(bench.path("large.png")).unwrap();
    for (name, reason) in [
        ("color.png", "colors, the model takes 8-bit gray; --resize converts it"),
        ("clear.png", "transparency, the model takes 8-bit gray; --resize converts it"),
        ("deep.png", "16 bits a channel, the model takes 8-bit gray; --resize converts it"),
        ("large.png", "24x16 pixels, the model takes 8x8; --resize stretches it"),
    ] {
        bench.refuses(&format!("encode model {name}"), 1, &[name, reason]);
        let notes = bench.run(&format!("encode model {name} --resize")).notes();
        assert!(notes.starts_with(&format!("note: {name}: converted")), "{notes}");
    }
    // Luma of (200, 0, 0), and black behind what is transparent.
    let mut expected = gray().into_luma8();
    for (name, value) in [("color.png", 43), ("clear.png", 0)] {
        expected.get_pixel_mut(3, 3).0 = [value];
        expected.save(bench.path("expected.png")).unwrap();
        let run = bench.run(&format!("encode model {name} --resize"));
        assert_eq!(run.stdout, bench.run("encode model expected.png").quiet());
    }
}

#[test]
fn what_is_no_picture_is_named() {
    let bench = Bench::tiny();
    bench.photo();
    let png = fs::read(bench.path("photo.png")).unwrap();
    fs::write(bench.path("cut.png"), &png[..png.len() / 2]).unwrap();
    for name in ["model", "cut.png"] {
        bench.refuses(&format!("encode model {name}"), 1, &[name, "not a PNG picture that can be read"]);
    }
    bench.refuses("encode model none.png", 1, &["none.png", "No such file"]);
}
