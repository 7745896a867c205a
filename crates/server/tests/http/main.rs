//! The server in process and on sockets, with real stores and a real, small engine. The numbers F-01 … F-80 are the
//! conformance cases of the API; the same cases run from outside in `tests/conformance`.

// The helpers are tests too: what does not come out as expected there is a failed test.
#![allow(clippy::unwrap_used)]

mod calls;
mod fixture;
mod life;
mod limits;
mod refusals;
mod strangers;
mod wire;
