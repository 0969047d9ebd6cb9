//! What every account must prove before it is believed.

use crate::errors::AllowanceError;
use crate::layout;
use pinocchio::{account::Ref, address::address_eq, error::ProgramError, AccountView, Address};

const TOKEN: Address = Address::from_str_const("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA");
const TOKEN_2022: Address = Address::from_str_const("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb");

#[inline(always)]
pub fn require(holds: bool, error: AllowanceError) -> Result<(), ProgramError> {
    if holds {
        Ok(())
    } else {
        Err(error.into())
    }
}

#[inline(always)]
pub fn signed(account: &AccountView) -> Result<(), ProgramError> {
    require(account.is_signer(), AllowanceError::MissingSignature)
}

#[inline(always)]
pub fn differ(left: &AccountView, right: &AccountView) -> Result<(), ProgramError> {
    require(!address_eq(left.address(), right.address()), AllowanceError::AccountsAliased)
}

#[inline(always)]
pub fn is_token_program(address: &Address) -> bool {
    address_eq(address, &TOKEN) || address_eq(address, &TOKEN_2022)
}

/// An account of this program and of one kind must be given; only this program could have written it.
#[inline(always)]
pub fn of_kind(account: &AccountView, program_id: &Address, kind: &[u8; 8]) -> Result<(), ProgramError> {
    require(account.owned_by(program_id), AllowanceError::WrongAccountOwner)?;
    let data = account.try_borrow()?;
    require(data.len() >= 8 && data[..8] == kind[..], AllowanceError::WrongAccountKind)
}

/// The bytes of an account of one kind, whose length never changes.
#[inline(always)]
pub fn fields<const N: usize>(account: &AccountView) -> Result<Ref<'_, [u8; N]>, ProgramError> {
    Ref::try_map(account.try_borrow()?, |data| data.first_chunk::<N>().ok_or(()))
        .map_err(|_| AllowanceError::WrongAccountKind.into())
}

#[inline(always)]
pub fn address_at(data: &[u8], at: usize) -> &Address {
    // An address is its 32 bytes, without alignment; the slice proves that they are there.
    unsafe { &*data[at..at + 32].as_ptr().cast::<Address>() }
}

#[inline(always)]
pub fn u64_at(data: &[u8], at: usize) -> u64 {
    let mut word = [0u8; 8];
    word.copy_from_slice(&data[at..at + 8]);
    u64::from_le_bytes(word)
}

#[inline(always)]
pub fn u32_at(data: &[u8], at: usize) -> u32 {
    let mut word = [0u8; 4];
    word.copy_from_slice(&data[at..at + 4]);
    u32::from_le_bytes(word)
}

#[inline(always)]
pub fn put(data: &mut [u8], at: usize, field: &[u8]) {
    data[at..at + field.len()].copy_from_slice(field);
}

pub type MerchantFields = [u8; layout::merchant::LEN];

/// A merchant's account, proven to be one.
#[inline(always)]
pub fn merchant<'a>(
    account: &'a AccountView,
    program_id: &Address,
) -> Result<Ref<'a, MerchantFields>, ProgramError> {
    of_kind(account, program_id, &layout::merchant::DISCRIMINATOR)?;
    fields(account)
}

#[inline(always)]
pub fn not_paused(merchant: &MerchantFields) -> Result<(), ProgramError> {
    require(merchant[layout::merchant::PAUSED] == 0, AllowanceError::MerchantPaused)
}

/// The merchant's authority must sign.
#[inline(always)]
pub fn authority(merchant: &MerchantFields, signer: &AccountView) -> Result<(), ProgramError> {
    signed(signer)?;
    require(
        address_eq(address_at(merchant, layout::merchant::AUTHORITY), signer.address()),
        AllowanceError::WrongAuthority,
    )
}

/// The account at a field of the merchant's must be given.
#[inline(always)]
pub fn is_merchants(
    merchant: &MerchantFields,
    field: usize,
    account: &AccountView,
    error: AllowanceError,
) -> Result<(), ProgramError> {
    require(address_eq(address_at(merchant, field), account.address()), error)
}

/// Mint and token program must be the merchant's.
#[inline(always)]
pub fn tokens_of(
    merchant: &MerchantFields,
    mint: &AccountView,
    token_program: &AccountView,
) -> Result<(), ProgramError> {
    is_merchants(merchant, layout::merchant::MINT, mint, AllowanceError::WrongMint)?;
    is_merchants(
        merchant,
        layout::merchant::TOKEN_PROGRAM,
        token_program,
        AllowanceError::WrongTokenProgram,
    )
}
