//! deal_allowance: fees pulled from users' own wallets within caps that they set, each at most once.
//!
//! What is judged without an account or a chain stands in modules of its own, which the host compiles and
//! tests. What touches accounts is in `program`, for the chain alone.
#![cfg_attr(target_arch = "bpf", no_std)]

pub mod allowance;
pub mod arguments;
pub mod bitmap;
pub mod errors;
pub mod layout;
pub mod token;

#[cfg(target_arch = "bpf")]
mod memory;
#[cfg(target_arch = "bpf")]
mod program;
