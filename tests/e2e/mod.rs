//! Whole tasks through the real program, against model servers of both protocols.

mod access;
mod author;
mod bad_input;
mod cli;
mod events;
mod failures;
mod hai;
mod inbox;
mod keep;
mod note;
mod outages;
mod path;
mod real_model;
mod tiers;
mod traces;
