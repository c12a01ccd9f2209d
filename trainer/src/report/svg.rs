//! Plots as SVG: lines, bands, points and bars over axes with round ticks.
//!
//! A plot is text that stands in an HTML page, whose style sheet ([`super::html`]) gives the colors: color i is that of
//! class `series-i`. What is not finite is left out.

use super::html::escape;

/// How many series have colors of their own.
pub const COLORS: usize = 12;

/// Width of a plot in its own units, which are a screen's pixels where there is room.
const WIDTH: f64 = 360.0;
/// Height of a plot without its legend.
const HEIGHT: f64 = 216.0;
/// Room for tick labels and axis labels.
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;
/// A line of the legend.
const LINE: f64 = 16.0;
/// The width of a character, about.
const CHARACTER: f64 = 6.4;

/// A plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// What is shown, for those who hear the page.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// What is drawn, the last on top.
    pub series: Vec<Series>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Axis {
    /// What it counts, with the unit.
    pub label: String,
    /// Values that are in view whatever the data.
    pub covers: Vec<f64>,
    /// Equal ratios are equally far apart; values that are not positive are left out.
    pub logarithmic: bool,
}

/// Marks of one color.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name in the legend; nothing for no entry.
    pub name: String,
    /// Its color, modulo [`COLORS`].
    pub color: usize,
    /// The marks.
    pub marks: Marks,
}

/// What a series is drawn as.
#[derive(Debug, Clone, PartialEq)]
pub enum Marks {
    /// A line through `(x, y)`.
    Line(Vec<(f64, f64)>),
    /// The area between the lower and the upper line `(x, low, high)`.
    Band(Vec<(f64, f64, f64)>),
    /// Points.
    Points(Vec<Point>),
    /// Bars `(from, to, y)`, which stand on the x axis.
    Bars(Vec<(f64, f64, f64)>),
}

/// A point of a scatter plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its place.
    pub x: f64,
    /// Its place.
    pub y: f64,
    /// A line up and down, from the least to the greatest y that it stands for.
    pub interval: Option<(f64, f64)>,
    /// What shows up under the pointer.
    pub title: String,
}

impl Plot {
    /// The `<svg>` element.
    pub fn svg(&self) -> String {
        let legend = self.legend();
        let top = TOP + LINE * legend.last().map_or(0.0, |(_, row, _)| row + 1.0);
        let bottom = top + HEIGHT - TOP - BOTTOM;
        let x = Scale::new(&self.x, self.extent(Marks::x), LEFT, WIDTH - RIGHT);
        let y = Scale::new(&self.y, self.extent(Marks::y), bottom, top);
        let height = bottom + BOTTOM;
        let mut svg = format!(
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n",
            escape(&self.title)
        );
        for (series, row, left) in legend {
            let Series { name, color, .. } = &self.series[series];
            let (y, name) = (LINE * row + 12.0, escape(name));
            svg.push_str(&format!("<g class=\"series-{}\"><rect class=\"key\" ", color % COLORS));
            svg.push_str(&format!("x=\"{left:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\"/></g>", y - 9.0));
            svg.push_str(&format!("<text x=\"{:.1}\" y=\"{y:.1}\">{name}</text>\n", left + 14.0));
        }
        svg.push_str(&axes(&self.x, &x, &self.y, &y));
        for Series { color, marks, .. } in &self.series {
            svg.push_str(&format!("<g class=\"series-{}\">{}</g>\n", color % COLORS, marks.draw(&x, &y, bottom)));
        }
        svg + "</svg>\n"
    }

    /// The named series with row and left end of their entry in the legend; nothing where there is no choice.
    fn legend(&self) -> Vec<(usize, f64, f64)> {
        let named: Vec<usize> = (0..self.series.len()).filter(|&i| !self.series[i].name.is_empty()).collect();
        if named.len() < 2 {
            return Vec::new();
        }
        let (mut row, mut left) = (0.0, LEFT);
        let place = |i: usize| {
            let width = 28.0 + CHARACTER * self.series[i].name.chars().count() as f64;
            if left > LEFT && left + width > WIDTH {
                (row, left) = (row + 1.0, LEFT);
            }
            let entry = (i, row, left);
            left += width;
            entry
        };
        named.into_iter().map(place).collect()
    }

    /// All values along an axis.
    fn extent(&self, values: fn(&Marks) -> Vec<f64>) -> Vec<f64> {
        self.series.iter().flat_map(|series| values(&series.marks)).collect()
    }
}

impl Marks {
    fn x(&self) -> Vec<f64> {
        match self {
            Self::Line(points) => points.iter().map(|point| point.0).collect(),
            Self::Band(points) => points.iter().map(|point| point.0).collect(),
            Self::Points(points) => points.iter().map(|point| point.x).collect(),
            Self::Bars(bars) => bars.iter().flat_map(|bar| [bar.0, bar.1]).collect(),
        }
    }

    fn y(&self) -> Vec<f64> {
        match self {
            Self::Line(points) => points.iter().map(|point| point.1).collect(),
            Self::Band(points) => points.iter().flat_map(|point| [point.1, point.2]).collect(),
            Self::Points(points) => {
                let ends = |point: &Point| point.interval.map_or([point.y; 2], |(low, high)| [low, high]);
                points.iter().flat_map(|point| [point.y].into_iter().chain(ends(point))).collect()
            }
            Self::Bars(bars) => bars.iter().map(|bar| bar.2).collect(),
        }
    }

    /// The elements; bars stand at `bottom`.
    fn draw(&self, x: &Scale, y: &Scale, bottom: f64) -> String {
        let path = |points: &mut dyn Iterator<Item = (f64, f64)>| -> String {
            let places = points.filter_map(|(px, py)| Some(format!("{:.1},{:.1}", x.place(px)?, y.place(py)?)));
            places.collect::<Vec<_>>().join(" ")
        };
        match self {
            Self::Line(points) => format!("<polyline points=\"{}\"/>", path(&mut points.iter().copied())),
            Self::Band(points) => {
                let there = points.iter().map(|&(x, low, _)| (x, low));
                let back = points.iter().rev().map(|&(x, _, high)| (x, high));
                format!("<polygon points=\"{}\"/>", path(&mut there.chain(back)))
            }
            Self::Points(points) => points.iter().filter_map(|point| point.draw(x, y)).collect(),
            Self::Bars(bars) => {
                let bar = |&(from, to, value): &(f64, f64, f64)| {
                    let (left, right, top) = (x.place(from)?, x.place(to)?, y.place(value)?);
                    let (width, height) = (right - left, bottom - top);
                    let size = format!("width=\"{width:.2}\" height=\"{height:.2}\"");
                    (height > 0.0).then(|| format!("<rect x=\"{left:.2}\" y=\"{top:.2}\" {size}/>"))
                };
                bars.iter().filter_map(bar).collect()
            }
        }
    }
}

impl Point {
    fn draw(&self, x: &Scale, y: &Scale) -> Option<String> {
        let (left, top) = (x.place(self.x)?, y.place(self.y)?);
        let line = |(low, high): (f64, f64)| {
            let (low, high) = (y.place(low)?, y.place(high)?);
            Some(format!("<line x1=\"{left:.1}\" x2=\"{left:.1}\" y1=\"{low:.1}\" y2=\"{high:.1}\"/>"))
        };
        let line = self.interval.and_then(line).unwrap_or_default();
        let title = escape(&self.title);
        Some(format!("{line}<circle cx=\"{left:.1}\" cy=\"{top:.1}\" r=\"3.5\"><title>{title}</title></circle>"))
    }
}

/// Where values stand on the picture.
struct Scale {
    logarithmic: bool,
    /// The least and the greatest value in view, as logarithms on such an axis.
    range: (f64, f64),
    /// Their places.
    places: (f64, f64),
}

impl Scale {
    fn new(axis: &Axis, values: Vec<f64>, from: f64, to: f64) -> Self {
        let mut scale = Self { logarithmic: axis.logarithmic, range: (0.0, 1.0), places: (from, to) };
        let values = values.iter().chain(&axis.covers).filter_map(|&value| scale.coordinate(value));
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low < high {
            scale.range = (low, high);
        } else if low == high {
            let margin = 0.5 * low.abs().max(1.0);
            scale.range = (low - margin, high + margin);
        }
        scale
    }

    /// The value as the axis counts it, if it can be shown.
    fn coordinate(&self, value: f64) -> Option<f64> {
        let coordinate = if self.logarithmic { value.log10() } else { value };
        coordinate.is_finite().then_some(coordinate)
    }

    fn place(&self, value: f64) -> Option<f64> {
        let ((low, high), (from, to)) = (self.range, self.places);
        let place = from + (self.coordinate(value)? - low) / (high - low) * (to - from);
        place.is_finite().then_some(place)
    }

    /// Round values in view with their texts.
    fn ticks(&self) -> Vec<(f64, String)> {
        let (low, high) = self.range;
        if !self.logarithmic {
            return ticks(low, high);
        }
        let decades = low.floor() as i32..=high.ceil() as i32;
        let multiples: &[f64] = if high - low > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let values = decades.flat_map(|decade| multiples.iter().map(move |m| m * 10f64.powi(decade)));
        let shown: Vec<f64> = values.filter(|value| (low..=high).contains(&value.log10())).collect();
        // Less than a decade can have too few of them.
        match shown.len() {
            0..2 => ticks(10f64.powf(low), 10f64.powf(high)),
            _ => shown.into_iter().map(|value| (value, number(value, value))).collect(),
        }
    }
}

/// About five multiples of 1, 2 or 5 times a power of ten between `low` and `high`.
fn ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0].map(|m| m * power).into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power);
    let first = (low / step).ceil();
    let count = ((high / step).floor() - first).clamp(0.0, 10.0) as usize;
    (0..=count).map(|i| (first + i as f64) * step).map(|value| (value, number(value, step))).collect()
}

/// `value` with the digits that steps of `step` need.
fn number(value: f64, step: f64) -> String {
    if value != 0.0 && (value.abs() >= 1e7 || step < 1e-4) {
        return format!("{value:.1e}");
    }
    let digits = (-step.log10().floor()).max(0.0) as usize;
    let text = format!("{:.digits$}", value.abs());
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let sign = if value < 0.0 { "\u{2212}" } else { "" };
    format!("{sign}{}{fraction}", super::html::thousands(whole))
}

/// Grid lines, tick labels and axis labels.
fn axes(x_axis: &Axis, x: &Scale, y_axis: &Axis, y: &Scale) -> String {
    let ((left, right), (bottom, top)) = (x.places, y.places);
    let mut svg = String::from("<g class=\"axes\">\n");
    for (value, text) in y.ticks() {
        let Some(place) = y.place(value) else { continue };
        svg.push_str(&format!("<line x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{place:.1}\" y2=\"{place:.1}\"/>"));
        svg.push_str(&format!("<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>\n", left - 5.0, place + 4.0));
    }
    for (value, text) in x.ticks() {
        let Some(place) = x.place(value) else { continue };
        let low = bottom + 4.0;
        svg.push_str(&format!("<line x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{bottom:.1}\" y2=\"{low:.1}\"/>"));
        svg.push_str(&format!("<text class=\"middle\" x=\"{place:.1}\" y=\"{:.1}\">{text}</text>\n", bottom + 16.0));
    }
    let (center, middle) = ((left + right) / 2.0, (top + bottom) / 2.0);
    svg.push_str(&format!("<text class=\"middle label\" x=\"{center:.1}\" y=\"{:.1}\">", bottom + 33.0));
    svg.push_str(&format!("{}</text>\n", escape(&x_axis.label)));
    svg.push_str(&format!("<text class=\"middle label\" transform=\"translate(11 {middle:.1}) rotate(-90)\">"));
    svg.push_str(&format!("{}</text>\n</g>\n", escape(&y_axis.label)));
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ticks: Vec<(f64, String)>) -> Vec<String> {
        ticks.into_iter().map(|(_, text)| text).collect()
    }

    fn plot(series: Vec<Series>) -> Plot {
        let axis = |label: &str| Axis { label: label.into(), ..Axis::default() };
        Plot { title: "a <plot>".into(), x: axis("step"), y: axis("loss & more"), series }
    }

    fn series(name: &str, marks: Marks) -> Series {
        Series { name: name.into(), color: 0, marks }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(texts(ticks(0.0, 20_000.0)), ["0", "5,000", "10,000", "15,000", "20,000"]);
        assert_eq!(texts(ticks(-0.31, 0.52)), ["\u{2212}0.2", "0.0", "0.2", "0.4"]);
        assert_eq!(texts(ticks(1.0e9, 1.4e9)), ["1.0e9", "1.1e9", "1.2e9", "1.3e9", "1.4e9"]);
    }

    #[test]
    fn marks_stand_where_their_values_are() {
        let line = Marks::Line(vec![(0.0, 0.0), (5.0, f64::NAN), (10.0, 4.0)]);
        let svg = plot(vec![series("", line)]).svg();
        assert!(svg.contains("<polyline points=\"58.0,176.0 346.0,10.0\"/>"), "{svg}");
        let bars = plot(vec![series("", Marks::Bars(vec![(0.0, 1.0, 0.0), (1.0, 2.0, 3.0)]))]).svg();
        assert!(bars.contains("<rect x=\"202.00\" y=\"10.00\" width=\"144.00\" height=\"166.00\"/>"), "{bars}");
        assert_eq!(bars.matches("<rect").count(), 1);
    }

    #[test]
    fn names_are_escaped_and_listed_where_there_are_several() {
        let point = Point { x: 1.0, y: 2.0, interval: Some((1.0, 3.0)), title: "<script>".into() };
        let named = |name: &str| series(name, Marks::Points(vec![point.clone()]));
        let svg = plot(vec![named("a<b"), named("c")]).svg();
        for part in ["a &lt;plot&gt;", "loss &amp; more", ">a&lt;b</text>", "<title>&lt;script&gt;</title>"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert_eq!((svg.matches("class=\"key\"").count(), svg.matches("<circle").count()), (2, 2));
        assert_eq!(plot(vec![named("a")]).svg().matches("class=\"key\"").count(), 0);
        roxmltree::Document::parse(&svg).unwrap();
    }

    #[test]
    fn logarithmic_axes_leave_out_what_has_no_logarithm() {
        let mut plot = plot(vec![series("", Marks::Line(vec![(0.0, 1.0), (1.0, 0.0), (2.0, 1000.0)]))]);
        plot.y.logarithmic = true;
        let svg = plot.svg();
        assert!(svg.contains("<polyline points=\"58.0,176.0 346.0,10.0\"/>"), "{svg}");
        for tick in [">1<", ">10<", ">500<", ">1,000<"] {
            assert!(svg.contains(tick), "{tick}: {svg}");
        }
    }

    #[test]
    fn plots_of_nothing_and_of_one_value_are_drawn() {
        for marks in [
            Marks::Line(Vec::new()),
            Marks::Line(vec![(3.0, 7.0)]),
            Marks::Bars(vec![(0.0, 0.0, 0.0)]),
            Marks::Band(vec![(1.0, f64::NAN, f64::INFINITY)]),
            Marks::Line(vec![(1e300, -1e300), (1e301, 1e-300)]),
        ] {
            let svg = plot(vec![series("", marks)]).svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            roxmltree::Document::parse(&svg).unwrap();
        }
    }
}
