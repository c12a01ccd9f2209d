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
}

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

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(start) = self.start else { return };
        let time = start.elapsed();
        SECTIONS.with_borrow_mut(|sections| {
            let Some(sections) = sections else { return };
            match sections.iter_mut().find(|s| (s.name, s.part) == (self.name, self.part)) {
                Some(section) => section.time += time,
                None => sections.push(Section { name: self.name, part: self.part, time }),
            }
        });
    }
}
