//! Event files for TensorBoard: records framed as TFRecords, each an `Event` protobuf.
//!
//! A record is `u64` length, masked CRC-32C of these eight bytes, the data, masked CRC-32C of the data, all
//! little-endian (tensorflow/core/lib/io/record_writer.h). Messages and their field numbers are those of
//! tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::{Error, Result};

/// Castagnoli's polynomial, as in iSCSI.
const CRC32C: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// Writes one event file.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventWriter {
    /// Starts a new file in the folder `dir`, which is made if it is missing.
    ///
    /// `start_step` is the first step that this file may hold: TensorBoard drops what earlier files of the folder say
    /// about it and later ones, so that a resumed run replaces the steps it repeats.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn create(dir: &Path, start_step: u64) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let (path, file) = create_file(dir)?;
        let mut writer = Self { path, file: BufWriter::new(file) };
        writer.event(0, What::FileVersion("brain.Event:2".into()))?;
        writer.event(start_step, What::SessionLog(SessionLog { status: SESSION_START }))?;
        writer.flush()?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a point to the curve `tag`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scalar(&mut self, step: u64, tag: &str, value: f32) -> Result<()> {
        self.summary(step, tag, Value::SimpleValue(value))
    }

    /// Adds a picture of `width` x `height` pixels with `channels` 1 (gray), 3 (RGB) or 4 (RGBA); `png_bytes` is a PNG
    /// file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn image(
        &mut self,
        step: u64,
        tag: &str,
        width: u32,
        height: u32,
        channels: u32,
        png_bytes: &[u8],
    ) -> Result<()> {
        let [height, width, colorspace] = [height, width, channels].map(|n| i32::try_from(n).unwrap_or(i32::MAX));
        let image = Image { height, width, colorspace, encoded_image_string: png_bytes.into() };
        self.summary(step, tag, Value::Image(image))
    }

    /// Hands what is buffered to the system, so that TensorBoard sees it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(Error::io(&self.path))
    }

    fn summary(&mut self, step: u64, tag: &str, value: Value) -> Result<()> {
        let value = SummaryValue { tag: tag.into(), value: Some(value) };
        self.event(step, What::Summary(Summary { value: vec![value] }))
    }

    fn event(&mut self, step: u64, what: What) -> Result<()> {
        let wall_time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let data = Event { wall_time, step, what: Some(what) }.encode_to_vec();
        self.file.write_all(&record(&data)).map_err(Error::io(&self.path))
    }
}

/// Creates `events.out.tfevents.SECONDS.HOST.PID`. TensorBoard reads the files of a folder in the order of their names,
/// so a new one is always a second later than those that are there.
fn create_file(dir: &Path) -> Result<(PathBuf, File)> {
    const PREFIX: &str = "events.out.tfevents.";
    let seconds_of = |name: &str| name.strip_prefix(PREFIX)?.split('.').next()?.parse::<u64>().ok();
    let mut seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let name = entry.map_err(Error::io(dir))?.file_name();
        if let Some(earlier) = seconds_of(&name.to_string_lossy()) {
            seconds = seconds.max(earlier.saturating_add(1));
        }
    }
    let path = dir.join(format!("{PREFIX}{seconds:010}.{}.{}", host(), std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(Error::io(&path))?;
    Ok((path, file))
}

/// The name of this computer, or `localhost`.
fn host() -> String {
    let name = std::env::var("HOSTNAME").or_else(|_| fs::read_to_string("/proc/sys/kernel/hostname"));
    let name: String = name.unwrap_or_default().trim().chars().filter(|c| c.is_alphanumeric() || *c == '-').collect();
    if name.is_empty() { "localhost".into() } else { name }
}

/// `data` framed as a TFRecord.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_crc(data).to_le_bytes());
    record
}

/// CRC-32C rotated and shifted, since a CRC of data that contains CRCs is weak (record_writer.h).
fn masked_crc(bytes: &[u8]) -> u32 {
    CRC32C.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// `SessionLog.START`.
const SESSION_START: i32 = 1;

#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(oneof = "Value", tags = "2, 4")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(float, tag = "2")]
    SimpleValue(f32),
    #[prost(message, tag = "4")]
    Image(Image),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// Channels.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded_image_string: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a file; every checksum is checked.
    fn read(path: &Path) -> Vec<Event> {
        let bytes = fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = usize::try_from(u64::from_le_bytes(rest[..8].try_into().unwrap())).unwrap();
            let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            assert_eq!(word(8), masked_crc(&rest[..8]));
            assert_eq!(word(12 + length), masked_crc(&rest[12..12 + length]));
            events.push(Event::decode(&rest[12..12 + length]).unwrap());
            rest = &rest[16 + length..];
        }
        events
    }

    #[test]
    fn checksums_are_those_of_the_specification() {
        // RFC 3720, B.4.
        assert_eq!(CRC32C.checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(CRC32C.checksum(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(CRC32C.checksum(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_record_is_framed_as_tensorboard_frames_it() {
        // What RecordWriter of the Python package tensorboard 2.21 makes of the same event.
        let event = Event { wall_time: 0.0, step: 0, what: Some(What::FileVersion("brain.Event:2".into())) };
        let expected = b"\x0f\0\0\0\0\0\0\0mS+\x09\x1a\rbrain.Event:2\xfc\x98Q)";
        assert_eq!(record(&event.encode_to_vec()), expected);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(&dir.path().join("new/logs"), 1).unwrap();
        writer.scalar(1, "loss/total", 0.5).unwrap();
        writer.scalar(2, "loss/total", 0.0).unwrap();
        writer.image(2, "samples", 3, 2, 1, b"png").unwrap();
        writer.flush().unwrap();
        let events = read(writer.path());
        let steps: Vec<_> = events.iter().map(|e| e.step).collect();
        assert_eq!(steps, [0, 1, 1, 2, 2]);
        assert!(events.iter().all(|e| e.wall_time > 1.7e9));
        let what: Vec<_> = events.into_iter().map(|e| e.what.unwrap()).collect();
        let summary =
            |tag: &str, value| What::Summary(Summary { value: vec![SummaryValue { tag: tag.into(), value }] });
        assert_eq!(what[0], What::FileVersion("brain.Event:2".into()));
        assert_eq!(what[1], What::SessionLog(SessionLog { status: 1 }));
        assert_eq!(what[2], summary("loss/total", Some(Value::SimpleValue(0.5))));
        assert_eq!(what[3], summary("loss/total", Some(Value::SimpleValue(0.0))));
        let image = Image { height: 2, width: 3, colorspace: 1, encoded_image_string: b"png".into() };
        assert_eq!(what[4], summary("samples", Some(Value::Image(image))));
    }

    #[test]
    fn files_of_one_folder_sort_in_the_order_they_were_made() {
        let dir = tempfile::tempdir().unwrap();
        let writers: Vec<_> = (0..3).map(|step| EventWriter::create(dir.path(), step).unwrap()).collect();
        let paths: Vec<_> = writers.iter().map(|w| w.path().to_path_buf()).collect();
        assert!(paths.is_sorted() && paths[0] != paths[1] && paths[1] != paths[2], "{paths:?}");
        let name = paths[0].file_name().unwrap().to_str().unwrap();
        assert!(name.ends_with(&format!(".{}.{}", host(), std::process::id())), "{name}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = EventWriter::create(&dir.path().join("file/logs"), 0).unwrap_err();
        assert!(error.to_string().contains("file/logs"), "{error}");
    }
}
