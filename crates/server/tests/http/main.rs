//! The server in process and on sockets, with real stores and a real, small engine. F-01 … F-80, A.11, B.6 and
//! their like are the cases and chapters of docs/api-contract.md; the same cases run from outside in `tests/conformance`.

// The helpers are tests too: what does not come out as expected there is a failed test.
#![allow(clippy::unwrap_used)]

mod beside;
mod calls;
mod checks;
mod fixture;
mod life;
mod limits;
mod messages;
mod refusals;
mod steering;
mod strangers;
mod webhooks;
mod wire;
