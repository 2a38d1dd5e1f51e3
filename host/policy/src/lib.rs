//! What may happen, and what happens next.
//!
//! Pure by construction: this crate has no clock, no I/O and no async in its manifest, so every rule here can be tested by tables
//! and properties. It must never learn of HTTP, SQL, WebAssembly or files.
//!
//! Read in this order: a [`call`] is [`judge`]d against a [`grant`] and a [`tier`]; its [`route`] says where it would go; when
//! the hop ends, [`next`] says what follows.

pub mod judge;

pub mod call;

pub mod grant;

pub mod class;

pub mod approval;

pub mod denied;

pub mod route;

pub mod evidence;

pub mod next;

pub mod household;

pub mod manifest;

pub mod pattern;

pub mod tier;

pub mod task;
