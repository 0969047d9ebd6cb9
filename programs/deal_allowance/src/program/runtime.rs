//! What the program asks of the runtime: the time, new accounts, transfers, and lines of the log.

use crate::errors::AllowanceError;
use pinocchio::{
    cpi::Signer,
    error::ProgramError,
    sysvars::{clock::CLOCK_ID, get_sysvar, rent::RENT_ID},
    AccountView, Address, ProgramResult,
};
use pinocchio_system::instructions::{Allocate, Assign, CreateAccount, Transfer};
use pinocchio_token::instructions::TransferChecked;

const UNIX_TIMESTAMP: usize = 32;
const ACCOUNT_OVERHEAD_BYTES: u64 = 128;
/// The exemption threshold as the sysvar keeps it, a floating point number: 2 years, and 1 since SIMD-0194.
const THRESHOLD_TWO: u64 = 0x4000_0000_0000_0000;
const THRESHOLD_ONE: u64 = 0x3FF0_0000_0000_0000;

#[inline(always)]
pub fn log(line: &str) {
    unsafe { pinocchio::syscalls::sol_log_(line.as_ptr(), line.len() as u64) };
}

#[inline(always)]
pub fn log_data(fields: &[&[u8]]) {
    unsafe { pinocchio::syscalls::sol_log_data(fields.as_ptr().cast(), fields.len() as u64) };
}

/// Return the cluster's Unix time.
#[inline(always)]
pub fn now() -> Result<u64, ProgramError> {
    let mut raw = [0u8; 8];
    get_sysvar(&mut raw, &CLOCK_ID, UNIX_TIMESTAMP)?;
    let seconds = i64::from_le_bytes(raw);
    Ok(if seconds < 0 { 0 } else { seconds as u64 })
}

#[inline(always)]
fn rent_exempt_lamports(bytes: usize) -> Result<u64, ProgramError> {
    let mut raw = [0u8; 16];
    get_sysvar(&mut raw, &RENT_ID, 0)?;
    let [per_byte, threshold] = [0, 8].map(|at| {
        let mut word = [0u8; 8];
        word.copy_from_slice(&raw[at..at + 8]);
        u64::from_le_bytes(word)
    });
    let years = match threshold {
        THRESHOLD_TWO => 2,
        THRESHOLD_ONE => 1,
        _ => return Err(AllowanceError::UnknownRent.into()),
    };
    // At most 10 KiB at a few thousand lamports a byte: far from 64 bits.
    Ok((ACCOUNT_OVERHEAD_BYTES + bytes as u64).wrapping_mul(per_byte).wrapping_mul(years))
}

/// Make an account of this program at an address of its own.
///
/// Somebody may have sent lamports there before, on which a plain creation fails for ever.
#[inline(always)]
pub fn create_account(
    payer: &AccountView,
    account: &mut AccountView,
    bytes: usize,
    owner: &Address,
    signer: Signer,
) -> ProgramResult {
    let lamports = rent_exempt_lamports(bytes)?;
    let space = bytes as u64;
    let signers = [signer];
    let present = account.lamports();
    if present == 0 {
        return CreateAccount { from: payer, to: account, lamports, space, owner }.invoke_signed(&signers);
    }
    if present < lamports {
        Transfer { from: payer, to: account, lamports: lamports - present }.invoke()?;
    }
    Allocate { account, space }.invoke_signed(&signers)?;
    Assign { account, owner }.invoke_signed(&signers)
}

/// Tokens to move, as the token program is asked to move them.
pub struct Movement<'a> {
    pub from: &'a AccountView,
    pub to: &'a AccountView,
    pub mint: &'a AccountView,
    pub authority: &'a AccountView,
    pub token_program: &'a AccountView,
    pub amount: u64,
    pub decimals: u8,
}

impl Movement<'_> {
    /// Move them, the authority signing by the transaction or by the seeds of its address.
    #[inline(always)]
    pub fn invoke(&self, signers: &[Signer]) -> ProgramResult {
        TransferChecked::new(
            self.from,
            self.mint,
            self.to,
            self.authority,
            self.amount,
            self.decimals,
        )
        .invoke_signed_with_unverified_program(signers, self.token_program.address())
    }
}
