//! How a program ends: QEMU hands its status on.

use core::fmt::Display;

use semihosting::{println, process};

/// Ends with status 0, or says what went wrong and ends with status 1.
pub fn end(result: Result<(), impl Display>) -> ! {
    match result {
        Ok(()) => process::exit(0),
        Err(error) => fail(error),
    }
}

/// Says what went wrong and ends with status 1.
pub fn fail(error: impl Display) -> ! {
    println!("error: {error}");
    process::exit(1)
}
