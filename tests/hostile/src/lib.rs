//! Hostile input for everything that reads bytes from outside: what each reader is held to ([`limits`]), and the readers
//! ([`targets`]). Two drivers share them: the program of this package mutates seeds blindly, on any compiler, for the gate;
//! `fuzz/` is led by coverage, for hours.

pub mod files;
pub mod limits;
pub mod targets;

pub use targets::{TARGETS, Target};
