//! Events in the encoding of Anchor's logs: a discriminator and the fields behind it.

use super::runtime::log_data;
use pinocchio::Address;

/// An event under construction; `N` is its exact length.
pub struct Event<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Event<N> {
    #[inline(always)]
    pub fn new(discriminator: &[u8; 8]) -> Self {
        Self { bytes: [0; N], used: 0 }.bytes(discriminator)
    }

    #[inline(always)]
    pub fn bytes(mut self, field: &[u8]) -> Self {
        self.bytes[self.used..self.used + field.len()].copy_from_slice(field);
        self.used += field.len();
        self
    }

    #[inline(always)]
    pub fn address(self, field: &Address) -> Self {
        self.bytes(field.as_ref())
    }

    #[inline(always)]
    pub fn u64(self, field: u64) -> Self {
        self.bytes(&field.to_le_bytes())
    }

    #[inline(always)]
    pub fn u32(self, field: u32) -> Self {
        self.bytes(&field.to_le_bytes())
    }

    #[inline(always)]
    pub fn emit(self) {
        log_data(&[&self.bytes[..self.used]]);
    }
}
