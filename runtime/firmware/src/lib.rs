//! What the firmware's programs share: the board, the stack's depth, and how a program ends.
#![no_std]

pub mod board;
pub mod measure;
pub mod program;
pub mod stack;
