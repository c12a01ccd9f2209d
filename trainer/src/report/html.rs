//! A page that is one file: style sheet, script and pictures are in it, and nothing is loaded from anywhere.
//!
//! It is well-formed XML too, so that a program can read it. Without a script everything is there; with one, pictures can be
//! stepped through.

use base64::{Engine, engine::general_purpose::STANDARD};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A page, made section by section.
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    sections: Vec<(String, String)>,
}

impl Page {
    /// A page without sections.
    pub fn new(title: &str) -> Self {
        Self { title: title.into(), sections: Vec::new() }
    }

    /// Adds a section; `content` is HTML.
    pub fn section(&mut self, heading: &str, content: String) {
        self.sections.push((heading.into(), content));
    }

    /// The file's text.
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<title>{title}</title>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<nav>"
        );
        for (heading, _) in &self.sections {
            html.push_str(&format!("<a href=\"#{}\">{}</a> ", anchor(heading), escape(heading)));
        }
        html.push_str("</nav>\n");
        for (heading, content) in &self.sections {
            let (anchor, heading) = (anchor(heading), escape(heading));
            html.push_str(&format!("<section id=\"{anchor}\">\n<h2>{heading}</h2>\n{content}</section>\n"));
        }
        html + "<script>\n" + SCRIPT + "</script>\n</body>\n</html>\n"
    }
}

/// A heading as the name of a place on the page.
fn anchor(heading: &str) -> String {
    heading.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Text as it stands in HTML, in elements and in attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML has no way to write them.
            c if c.is_control() && !matches!(c, '\t' | '\n') => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A paragraph of plain text.
pub fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape(text))
}

/// A PNG picture; `text` says what it shows.
pub fn picture(png: &[u8], class: &str, text: &str) -> String {
    let data = STANDARD.encode(png);
    format!("<img class=\"{class}\" alt=\"{}\" src=\"data:image/png;base64,{data}\"/>\n", escape(text))
}

/// Pictures that are stepped through, each with its caption.
pub fn steps(pictures: impl Iterator<Item = (String, String)>) -> String {
    let figure = |(caption, picture): (String, String)| {
        format!("<figure>\n<figcaption>{}</figcaption>\n{picture}</figure>\n", escape(&caption))
    };
    format!("<div class=\"steps\">\n{}</div>\n", pictures.map(figure).collect::<String>())
}

/// A cell of a [`table`].
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Words, at the left.
    Text(String),
    /// A number with what belongs to it, at the right.
    Number(String),
    /// A number on a background that is the stronger the closer the share is to 1.
    Shade(String, f64),
    /// HTML.
    Html(String),
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A number.
    pub fn number(text: impl Into<String>) -> Self {
        Self::Number(text.into())
    }

    fn html(&self) -> String {
        match self {
            Self::Text(text) => format!("<td>{}</td>", escape(text)),
            Self::Number(text) => format!("<td class=\"number\">{}</td>", escape(text)),
            Self::Shade(text, share) => {
                let percent = 100.0 * if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
                format!("<td class=\"number shade\" style=\"--shade:{percent:.0}%\">{}</td>", escape(text))
            }
            Self::Html(html) => format!("<td>{html}</td>"),
        }
    }
}

/// A table; a column of numbers has its heading at the right too.
pub fn table(headings: &[&str], rows: &[Vec<Cell>]) -> String {
    let heading = |(i, heading): (usize, &&str)| {
        let right = rows
            .first()
            .and_then(|row| row.get(i))
            .is_some_and(|cell| matches!(cell, Cell::Number(_) | Cell::Shade(..)));
        format!("<th{}>{}</th>", if right { " class=\"number\"" } else { "" }, escape(heading))
    };
    let headings: String = headings.iter().enumerate().map(heading).collect();
    let row = |cells: &Vec<Cell>| format!("<tr>{}</tr>\n", cells.iter().map(Cell::html).collect::<String>());
    let rows: String = rows.iter().map(row).collect();
    format!("<div class=\"wide\"><table>\n<thead><tr>{headings}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n")
}

/// Digits in groups of three.
pub fn thousands(digits: &str) -> String {
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "</title><script>alert('1')</script>&\"\u{1b}\u{0}";

    #[test]
    fn hostile_texts_stay_texts() {
        let mut page = Page::new(HOSTILE);
        let rows = [vec![Cell::text(HOSTILE), Cell::number(HOSTILE), Cell::Shade(HOSTILE.into(), f64::NAN)]];
        let table = table(&[HOSTILE], &rows);
        let pictures = steps([(HOSTILE.to_string(), picture(b"png", "sheet", HOSTILE))].into_iter());
        page.section(HOSTILE, paragraph(HOSTILE) + &table + &pictures);
        let html = page.html();
        let document = roxmltree::Document::parse_with_options(
            &html,
            roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() },
        )
        .unwrap();
        let shown = HOSTILE.replace(['\u{1b}', '\u{0}'], "\u{fffd}");
        let elements = |name: &str| document.descendants().filter(|node| node.has_tag_name(name)).collect::<Vec<_>>();
        assert_eq!(elements("script").len(), 1);
        for name in ["title", "h1", "h2", "p", "th", "td", "figcaption"] {
            assert_eq!(elements(name)[0].text(), Some(&*shown), "{name}");
        }
        assert_eq!(elements("img")[0].attribute("alt"), Some(&*shown));
    }

    #[test]
    fn nothing_is_loaded() {
        let html = Page::new("page").html();
        for word in ["http", "@import", "src=", "<link"] {
            assert!(!html.contains(word), "{word}");
        }
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!(
            ["1", "123", "1234", "123456", "1234567"].map(thousands),
            ["1", "123", "1,234", "123,456", "1,234,567"]
        );
    }
}
