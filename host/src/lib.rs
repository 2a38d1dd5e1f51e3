//! A WebAssembly-sandboxed agent host. One process takes tasks at `/inbox`, keeps them in a durable queue, and lets agents work on
//! them; an agent can do nothing but ask its host.
//!
//! The modules stand in the order in which a task meets them, and each imports only those below it: to read this list from the
//! top is to read the program. What may happen is decided in the crate `policy`, beside all of them.

#![recursion_limit = "256"]

// The command line starts a host, or looks at one.
pub mod command;
// A finished run can be gone over by another component.
pub mod rehearsal;
// Requests come in through a surface,
pub mod surface;
// are taken in at one door,
pub mod ingress;
// and worked on hop by hop
pub mod worker;
// by the agents that there are,
pub mod fleet;
// each hop a fresh instance of one component,
pub mod runtime;
// whose every import is a host call,
pub mod capability;
// which reaches models
pub mod router;
// and tools,
pub mod gateway;
// and notes,
pub mod vault;
// and people, who are told
pub mod outbox;
// through what they have,
pub mod sink;
// and the network through one guard.
pub mod egress;
// Everything is written down here,
pub mod store;
// and can be seen.
pub mod telemetry;
pub mod metrics;
// What the operator decided.
pub mod config;
// The words that cross the border.
pub mod api;
pub mod envelope;
pub mod markup;
pub mod id;
// Where a test may end it.
pub mod fault;
