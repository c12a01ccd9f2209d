//! CRC-32 (IEEE 802.3, reflected), as in zlib.

use crate::format::header;

/// The checksum of a data section, its own four bytes taken as zero.
pub(crate) fn of_data(data: &[u8]) -> u32 {
    let (before, rest) = data.split_at(header::CHECKSUM.min(data.len()));
    let (_, after) = rest.split_at(rest.len().min(4));
    let mut crc = Crc::new();
    crc.update(before);
    crc.update(&[0; 4]);
    crc.update(after);
    crc.finish()
}

#[cfg(feature = "std")]
struct Crc(crc32fast::Hasher);

#[cfg(feature = "std")]
impl Crc {
    fn new() -> Self {
        Crc(crc32fast::Hasher::new())
    }

    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self) -> u32 {
        self.0.finalize()
    }
}

/// Four bits at a time: 64 bytes of table.
#[cfg(any(not(feature = "std"), test))]
mod small {
    const TABLE: [u32; 16] = table();

    #[expect(clippy::indexing_slicing, clippy::as_conversions, reason = "evaluated by the compiler")]
    #[expect(clippy::arithmetic_side_effects, reason = "evaluated by the compiler")]
    const fn table() -> [u32; 16] {
        let mut table = [0; 16];
        let mut index = 0;
        while index < table.len() {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 4 {
                value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    }

    pub(super) struct Crc(u32);

    impl Crc {
        pub(super) fn new() -> Self {
            Crc(!0)
        }

        #[expect(
            clippy::indexing_slicing,
            clippy::as_conversions,
            reason = "the index has four bits, as has the table"
        )]
        pub(super) fn update(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 ^= u32::from(*byte);
                self.0 = TABLE[(self.0 & 15) as usize] ^ self.0 >> 4;
                self.0 = TABLE[(self.0 & 15) as usize] ^ self.0 >> 4;
            }
        }

        pub(super) fn finish(self) -> u32 {
            !self.0
        }
    }
}

#[cfg(not(feature = "std"))]
use small::Crc;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_value() {
        let mut crc = Crc::new();
        crc.update(b"1234");
        crc.update(b"56789");
        assert_eq!(crc.finish(), 0xcbf4_3926);
        let mut crc = small::Crc::new();
        crc.update(b"123456789");
        assert_eq!(crc.finish(), 0xcbf4_3926);
    }
}
