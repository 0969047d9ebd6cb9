//! memcpy and its relatives on Solana's syscalls; the compiler's own need a newer LLVM than the linker has.

use core::ffi::c_void;
use pinocchio::syscalls::{sol_memcmp_, sol_memcpy_, sol_memmove_, sol_memset_};

#[no_mangle]
unsafe extern "C" fn memcpy(to: *mut c_void, from: *const c_void, count: usize) -> *mut c_void {
    sol_memcpy_(to.cast(), from.cast(), count as u64);
    to
}

#[no_mangle]
unsafe extern "C" fn memmove(to: *mut c_void, from: *const c_void, count: usize) -> *mut c_void {
    sol_memmove_(to.cast(), from.cast(), count as u64);
    to
}

#[no_mangle]
unsafe extern "C" fn memset(to: *mut c_void, byte: i32, count: usize) -> *mut c_void {
    sol_memset_(to.cast(), byte as u8, count as u64);
    to
}

#[no_mangle]
unsafe extern "C" fn memcmp(left: *const c_void, right: *const c_void, count: usize) -> i32 {
    let mut result = 0i32;
    sol_memcmp_(left.cast(), right.cast(), count as u64, &mut result);
    result
}

#[no_mangle]
unsafe extern "C" fn bcmp(left: *const c_void, right: *const c_void, count: usize) -> i32 {
    memcmp(left, right, count)
}
