//! Every test of the host, in one binary: sentences over the real program.

#![expect(unreachable_pub, reason = "a binary: nothing in it is public")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests may panic")]

mod support;

mod architecture;
mod conformance;
mod fuzz;
mod e2e;
mod hostile;
