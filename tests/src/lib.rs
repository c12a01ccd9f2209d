//! Nothing here: the tests across crates are in `tests/`.
