//! What every store must do, as scenarios over a store.

mod tasks;
