//! Pictures side by side.

use unbraid::ImageShape;

/// Pixels between tiles and around the sheet.
const GAP: usize = 2;
/// Between tiles: neither black nor white, as pictures are often both.
const BACKGROUND: u8 = 56;

/// Lays `tiles`, `(H, W, C)` bytes each, into rows of `columns`; returns the sheet's shape and bytes.
pub fn sheet(tiles: &[Vec<u8>], columns: usize, tile: ImageShape) -> (ImageShape, Vec<u8>) {
    let columns = columns.max(1);
    let side = |count: usize, size: usize| GAP + count * (size + GAP);
    let shape = ImageShape {
        height: side(tiles.len().div_ceil(columns), tile.height),
        width: side(columns, tile.width),
        channels: tile.channels,
    };
    let opaque = [BACKGROUND, BACKGROUND, BACKGROUND, 255];
    let background = match tile.channels {
        2 => vec![BACKGROUND, 255],
        channels => opaque.into_iter().take(channels).collect(),
    };
    let mut pixels = background.repeat(shape.height * shape.width);
    for (index, bytes) in tiles.iter().enumerate() {
        let (row, column) = (index / columns, index % columns);
        let corner = side(row, tile.height) * shape.row_len() + side(column, tile.width) * shape.channels;
        for (y, line) in bytes.chunks(tile.row_len().max(1)).enumerate() {
            let start = corner + y * shape.row_len();
            if let Some(to) = pixels.get_mut(start..start + line.len()) {
                to.copy_from_slice(line);
            }
        }
    }
    (shape, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_lie_in_rows() {
        let tile = ImageShape { height: 1, width: 2, channels: 2 };
        let tiles = [1, 2, 3].map(|value| vec![value; 4]);
        let (shape, pixels) = sheet(&tiles, 2, tile);
        assert_eq!(shape, ImageShape { height: 2 + 3 + 3, width: 2 + 4 + 4, channels: 2 });
        let at = |y: usize, x: usize| pixels[(y * 10 + x) * 2..][..2].to_vec();
        assert_eq!([at(2, 2), at(2, 3), at(2, 6), at(5, 2)], [[1; 2], [1; 2], [2; 2], [3; 2]]);
        assert_eq!([at(0, 0), at(2, 4), at(5, 6), at(7, 9)], [[56, 255]; 4]);
    }
}
