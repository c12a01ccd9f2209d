//! Benchmarks of the runtime beside other ones: `cargo bench -p unbraid-benches`. See `benches/runtimes/main.rs`.
