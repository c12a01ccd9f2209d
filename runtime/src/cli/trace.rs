//! Traces in Chrome's trace event format: a process for encode and one for decode, a thread for each layer, an event
//! for each row.

use std::time::Instant;

use serde::Serialize;
use unbraid::Probe;

use super::layers::{Description, times};

/// The file's content.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    trace_events: Vec<Event>,
    display_time_unit: &'static str,
    #[serde(skip)]
    start: Instant,
    #[serde(skip)]
    processes: usize,
}

/// One event. `ph` is `X` for a span, `M` for a name.
#[derive(Serialize)]
struct Event {
    name: String,
    ph: &'static str,
    /// Start, µs
    ts: f64,
    /// Duration, µs
    dur: f64,
    pid: usize,
    tid: usize,
    args: Arguments,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Arguments {
    Row { row: usize },
    Name { name: String },
}

impl Trace {
    /// No events; time starts now.
    pub fn new() -> Self {
        Trace { trace_events: Vec::new(), display_time_unit: "ns", start: Instant::now(), processes: 0 }
    }

    /// A probe for one run of `layers`.
    pub fn process<'a>(&'a mut self, name: &str, layers: &'a [Description]) -> Process<'a> {
        self.processes += 1;
        self.name("process_name", 0, name.into());
        for (index, layer) in layers.iter().enumerate() {
            self.name("thread_name", index, format!("{index} {} {}", layer.kind, times(&layer.output)));
        }
        Process { layers, rows: vec![0; layers.len()], started: 0.0, trace: self }
    }

    fn name(&mut self, what: &str, tid: usize, name: String) {
        let (pid, args) = (self.processes, Arguments::Name { name });
        self.trace_events.push(Event { name: what.into(), ph: "M", ts: 0.0, dur: 0.0, pid, tid, args });
    }

    /// µs since the start.
    fn now(&self) -> f64 {
        self.start.elapsed().as_nanos() as f64 / 1000.0
    }
}

/// Records the rows of one run.
pub struct Process<'a> {
    trace: &'a mut Trace,
    layers: &'a [Description],
    /// Rows that each layer has made.
    rows: Vec<usize>,
    started: f64,
}

impl Probe for Process<'_> {
    fn begin(&mut self, _: usize) {
        self.started = self.trace.now();
    }

    fn end(&mut self, tid: usize) {
        let dur = self.trace.now() - self.started;
        let (Some(layer), Some(rows)) = (self.layers.get(tid), self.rows.get_mut(tid)) else { return };
        let args = Arguments::Row { row: *rows };
        *rows += 1;
        let (name, pid) = (layer.kind.into(), self.trace.processes);
        self.trace.trace_events.push(Event { name, ph: "X", ts: self.started, dur, pid, tid, args });
    }
}
