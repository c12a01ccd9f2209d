//! Where a step's time goes: named sections, timed on the thread that trains.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

thread_local! {
    static SECTIONS: RefCell<Option<Vec<Section>>> = const { RefCell::new(None) };
}

/// The time spent in one section.
#[derive(Debug, Clone)]
pub struct Section {
    /// What works: a network, the data, the optimizer.
    pub name: &'static str,
    /// What it does.
    pub part: &'static str,
    /// How long, in all.
    pub time: Duration,
    /// How often.
    pub count: u32,
}

/// The section that holds all others: one step.
pub const STEP: &str = "step";

/// Runs until dropped.
#[derive(Debug)]
pub struct Timer {
    name: &'static str,
    part: &'static str,
    start: Option<Instant>,
}

/// Starts timing on this thread, from zero.
pub fn start() {
    SECTIONS.set(Some(Vec::new()));
}

/// Stops timing; the sections in the order in which they were first entered.
pub fn stop() -> Vec<Section> {
    SECTIONS.take().unwrap_or_default()
}

/// Counts the time until the result is dropped for a section. Costs next to nothing while nobody times.
#[must_use]
pub fn section(name: &'static str, part: &'static str) -> Timer {
    let timing = SECTIONS.with_borrow(Option::is_some);
    Timer { name, part, start: timing.then(Instant::now) }
}

/// A table of `sections`: milliseconds a step, and shares of it; what no section claims is "other".
pub fn table(sections: &[Section]) -> String {
    let (steps, parts): (Vec<_>, Vec<_>) = sections.iter().partition(|section| section.name == STEP);
    let total: f64 = steps.iter().map(|section| section.time.as_secs_f64()).sum();
    let count: u32 = steps.iter().map(|section| section.count).sum();
    let named: f64 = parts.iter().map(|section| section.time.as_secs_f64()).sum();
    let rows = parts.iter().map(|section| (format!("{} {}", section.name, section.part), section.time.as_secs_f64()));
    let rows = rows.chain([("other".into(), total - named), (STEP.into(), total)]);
    let line = |(name, time): (String, f64)| {
        format!("{name:24} {:8.2} ms {:5.1} %", 1e3 * time / f64::from(count.max(1)), 100.0 * time / total)
    };
    rows.map(line).collect::<Vec<_>>().join("\n")
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(start) = self.start else { return };
        let time = start.elapsed();
        SECTIONS.with_borrow_mut(|sections| {
            let Some(sections) = sections else { return };
            match sections.iter_mut().find(|s| (s.name, s.part) == (self.name, self.part)) {
                Some(section) => {
                    section.time += time;
                    section.count += 1;
                }
                None => sections.push(Section { name: self.name, part: self.part, time, count: 1 }),
            }
        });
    }
}
