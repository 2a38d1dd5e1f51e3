//! Whole tasks through the real program, against model servers of both protocols.

mod access;
mod author;
mod bad_input;
mod bench;
mod cli;
mod events;
mod failures;
mod hai;
mod hosts;
mod inbox;
mod keep;
mod letters;
mod money;
mod note;
mod outages;
mod path;
mod real_model;
mod replay;
mod rest;
mod revoked;
mod tiers;
mod traces;
mod unknown;
