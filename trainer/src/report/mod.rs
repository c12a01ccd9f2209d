//! Pages for people: one HTML file each, which holds everything that it shows.

pub mod html;
pub mod svg;
