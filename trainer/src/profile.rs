//! Where a step's time goes: named sections, timed on the thread that trains.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

thread_local! {
    static TIMING: RefCell<Option<Timing>> = const { RefCell::new(None) };
}

#[derive(Debug, Default)]
struct Timing {
    sections: Vec<Section>,
    /// For each timer that runs, the outermost first: the time of the sections within it.
    within: Vec<Duration>,
}

/// The time spent in one section.
#[derive(Debug, Clone)]
pub struct Section {
    /// What works: a network, the data, the optimizer.
    pub name: &'static str,
    /// What it does.
    pub part: &'static str,
    /// How long, in all, without the sections within it.
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
    TIMING.set(Some(Timing::default()));
}

/// Stops timing; the sections in the order in which they first ended.
pub fn stop() -> Vec<Section> {
    TIMING.take().unwrap_or_default().sections
}

/// Counts the time until the result is dropped for a section. Costs next to nothing while nobody times.
#[must_use]
pub fn section(name: &'static str, part: &'static str) -> Timer {
    let start = TIMING.with_borrow_mut(|timing| {
        timing.as_mut()?.within.push(Duration::ZERO);
        Some(Instant::now())
    });
    Timer { name, part, start }
}

/// A table of `sections`: milliseconds a step, and shares of it; what a step does outside of all others is "other".
pub fn table(sections: &[Section]) -> String {
    let Some(step) = sections.iter().find(|section| section.name == STEP) else { return "no step was timed".into() };
    let total: f64 = sections.iter().map(|section| section.time.as_secs_f64()).sum();
    let parts = sections.iter().filter(|section| section.name != STEP);
    let rows = parts.map(|section| (format!("{} {}", section.name, section.part), section.time.as_secs_f64()));
    let rows = rows.chain([("other".into(), step.time.as_secs_f64()), (STEP.into(), total)]);
    let line = |(name, time): (String, f64)| {
        format!("{name:24} {:8.2} ms {:5.1} %", 1e3 * time / f64::from(step.count), 100.0 * time / total)
    };
    rows.map(line).collect::<Vec<_>>().join("\n")
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(start) = self.start else { return };
        let elapsed = start.elapsed();
        TIMING.with_borrow_mut(|timing| {
            let Some(Timing { sections, within }) = timing else { return };
            let time = elapsed.saturating_sub(within.pop().unwrap_or_default());
            if let Some(outer) = within.last_mut() {
                *outer += elapsed;
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets some time pass, whatever the clock's resolution.
    fn work() {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(50) {}
    }

    fn step() {
        let _step = section(STEP, "");
        work();
        let _outer = section("files", "write");
        work();
        for _ in 0..2 {
            let _inner = section("encoder", "forward");
            work();
        }
    }

    #[test]
    fn nothing_is_timed_unless_it_was_started() {
        step();
        assert!(stop().is_empty());
        // A section that began before is in none, and one that outlives the timing does no harm.
        let early = section("data", "wait");
        start();
        drop(early);
        let late = section("data", "wait");
        assert!(stop().is_empty());
        drop(late);
        assert!(stop().is_empty());
    }

    #[test]
    fn time_goes_to_the_innermost_section() {
        start();
        let whole = Instant::now();
        (0..3).for_each(|_| step());
        let whole = whole.elapsed();
        let sections = stop();
        let found: Vec<_> = sections.iter().map(|s| (s.name, s.part, s.count)).collect();
        assert_eq!(found, [("encoder", "forward", 6), ("files", "write", 3), (STEP, "", 3)]);
        assert!(sections.iter().all(|s| s.time >= s.count * Duration::from_micros(50)), "{sections:?}");
        // Counted twice, the inner ones would make more than there was.
        assert!(sections.iter().map(|s| s.time).sum::<Duration>() <= whole, "{sections:?} in {whole:?}");
    }

    #[test]
    fn other_threads_do_not_count() {
        start();
        std::thread::scope(|scope| drop(scope.spawn(step)));
        assert!(stop().is_empty());
    }

    #[test]
    fn the_table_has_milliseconds_a_step_and_shares() {
        let section = |name, part, ms, count| Section { name, part, time: Duration::from_millis(ms), count };
        let sections =
            [section("data", "wait", 10, 4), section("encoder", "forward", 60, 8), section(STEP, "", 130, 4)];
        let expected = [
            "data wait                    2.50 ms   5.0 %",
            "encoder forward             15.00 ms  30.0 %",
            "other                       32.50 ms  65.0 %",
            "step                        50.00 ms 100.0 %",
        ];
        assert_eq!(table(&sections), expected.join("\n"));
        assert_eq!(table(&[]), "no step was timed");
    }
}
