//! Tables of text.

use std::fmt::{self, Display, Write};

/// A heading and rows, columns wide enough for their longest text, indented by two.
pub struct Table<const N: usize> {
    /// Whether a column's text stands at its right.
    right: [bool; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// Headings of the columns; numbers belong under one that starts with `>`, which aligns them to the right.
    pub fn new(headings: [&str; N]) -> Self {
        let right = headings.map(|heading| heading.starts_with('>'));
        Table { right, rows: vec![headings.map(|heading| heading.trim_start_matches('>').to_string())] }
    }

    pub fn row(&mut self, cells: [&dyn Display; N]) {
        self.rows.push(cells.map(ToString::to_string));
    }
}

impl<const N: usize> Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(widths).zip(self.right) {
                if right { write!(line, "  {cell:>width$}")? } else { write!(line, "  {cell:width$}")? }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A whole number with thousands apart: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["factor", ">KL"]);
        table.row([&"größe", &1.5]);
        table.row([&"x", &10.25]);
        assert_eq!(table.to_string(), "  factor     KL\n  größe     1.5\n  x       10.25\n");
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
