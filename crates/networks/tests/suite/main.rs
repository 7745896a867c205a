//! One test program for the whole crate, since each links all of candle: networks against golden tensors of the reference,
//! weight files of every format, checkpoints in both layouts.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Tests, and helpers of tests.

mod annotators;
mod checkpoints;
mod clip_vision;
mod golden;
mod names;
mod synthetic;
mod text;
mod u2net;
mod unet;
mod vae;
mod weight_files;
mod witness;
