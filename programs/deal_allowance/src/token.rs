//! The bytes of mints and token accounts of both token programs, as far as the program trusts them.

use crate::errors::AllowanceError;

const MINT_BYTES: usize = 82;
const ACCOUNT_BYTES: usize = 165;
const MULTISIG_BYTES: usize = 355;
const EXTENSIONS: usize = 166;
const EXTENSION_HEADER_BYTES: usize = 4;
const KIND_MINT: u8 = 1;
const KIND_ACCOUNT: u8 = 2;

const DECIMALS: usize = 44;
const MINT_INITIALIZED: usize = 45;

const OWNER: usize = 32;
const DELEGATE_TAG: usize = 72;
const DELEGATE: usize = 76;
const STATE: usize = 108;
const CLOSE_AUTHORITY_TAG: usize = 129;
const STATE_INITIALIZED: u8 = 1;

/// Extensions of a mint under which an amount sent is the amount received, today and later: default
/// account state, permanent delegate, metadata and group with their pointers, and pausable. A mint that
/// can be closed could come back with others.
const ALLOWED_EXTENSIONS: [u16; 9] = [6, 12, 18, 19, 20, 21, 22, 23, 26];

/// Return a mint's decimals, or refuse what is no initialized mint or has an extension not on the list.
#[inline(always)]
pub fn mint_decimals(data: &[u8]) -> Result<u8, AllowanceError> {
    let is_mint = data.len() == MINT_BYTES || has_kind(data, KIND_MINT);
    if !is_mint || data[MINT_INITIALIZED] != 1 {
        return Err(AllowanceError::WrongMint);
    }
    if data.len() > EXTENSIONS {
        check_extensions(&data[EXTENSIONS..])?;
    }
    Ok(data[DECIMALS])
}

#[inline(always)]
fn check_extensions(mut rest: &[u8]) -> Result<(), AllowanceError> {
    // What is left may be too short for a header; the token programs leave it zero.
    while rest.len() >= EXTENSION_HEADER_BYTES {
        let kind = u16::from_le_bytes([rest[0], rest[1]]);
        let length = u16::from_le_bytes([rest[2], rest[3]]) as usize;
        if kind == 0 {
            return Ok(());
        }
        if !ALLOWED_EXTENSIONS.contains(&kind) {
            return Err(AllowanceError::UnsupportedMint);
        }
        rest = rest.get(EXTENSION_HEADER_BYTES + length..).ok_or(AllowanceError::WrongMint)?;
    }
    Ok(())
}

/// A token account that is initialized and not frozen.
#[derive(Clone, Copy)]
pub struct TokenAccount<'a> {
    data: &'a [u8],
}

impl<'a> TokenAccount<'a> {
    /// Read a token account; whose program owns the bytes is the caller's to check.
    #[inline(always)]
    pub fn read(data: &'a [u8]) -> Result<Self, AllowanceError> {
        let is_account = data.len() == ACCOUNT_BYTES || has_kind(data, KIND_ACCOUNT);
        if !is_account || data[STATE] != STATE_INITIALIZED {
            return Err(AllowanceError::WrongTokenAccount);
        }
        Ok(Self { data })
    }

    #[inline(always)]
    pub fn has_mint(&self, mint: &[u8]) -> bool {
        &self.data[..32] == mint
    }

    #[inline(always)]
    pub fn has_owner(&self, owner: &[u8]) -> bool {
        &self.data[OWNER..OWNER + 32] == owner
    }

    #[inline(always)]
    pub fn has_delegate(&self, delegate: &[u8]) -> bool {
        self.data[DELEGATE_TAG] == 1 && &self.data[DELEGATE..DELEGATE + 32] == delegate
    }

    /// Whether nobody but the owner can move tokens or close the account.
    #[inline(always)]
    pub fn is_unencumbered(&self) -> bool {
        self.data[DELEGATE_TAG] == 0 && self.data[CLOSE_AUTHORITY_TAG] == 0
    }
}

#[inline(always)]
fn has_kind(data: &[u8], kind: u8) -> bool {
    data.len() >= EXTENSIONS && data.len() != MULTISIG_BYTES && data[EXTENSIONS - 1] == kind
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mint(extensions: &[(u16, usize)]) -> Vec<u8> {
        let mut data = vec![0; EXTENSIONS];
        data[DECIMALS] = 8;
        data[MINT_INITIALIZED] = 1;
        data[EXTENSIONS - 1] = KIND_MINT;
        for (kind, length) in extensions {
            data.extend(kind.to_le_bytes());
            data.extend((*length as u16).to_le_bytes());
            data.extend(vec![0xff; *length]);
        }
        data
    }

    fn account() -> Vec<u8> {
        let mut data = vec![0; ACCOUNT_BYTES];
        data[..32].fill(1);
        data[OWNER..64].fill(2);
        data[STATE] = STATE_INITIALIZED;
        data
    }

    #[test]
    fn plain_mints_are_read() {
        assert_eq!(mint_decimals(&mint(&[])[..MINT_BYTES]), Ok(8));
        assert_eq!(mint_decimals(&mint(&[(18, 64), (19, 90)])), Ok(8));
        let mut padded = mint(&[(18, 64)]);
        padded.extend([0, 0, 0]);
        assert_eq!(mint_decimals(&padded), Ok(8));
    }

    #[test]
    fn mints_whose_amounts_change_on_the_way_are_refused() {
        for kind in [1u16, 3, 4, 9, 10, 14, 16, 24, 25, 27, 999] {
            assert_eq!(mint_decimals(&mint(&[(18, 64), (kind, 8)])), Err(AllowanceError::UnsupportedMint), "{kind}");
        }
    }

    #[test]
    fn what_is_no_mint_is_refused() {
        let mut uninitialized = mint(&[]);
        uninitialized[MINT_INITIALIZED] = 0;
        let mut cut = mint(&[(18, 64)]);
        cut.truncate(cut.len() - 1);
        let mut multisig = mint(&[]);
        multisig.resize(MULTISIG_BYTES, 0);
        for data in [&uninitialized[..], &cut, &multisig, &account(), &[], &[0; 81]] {
            assert_eq!(mint_decimals(data), Err(AllowanceError::WrongMint));
        }
    }

    #[test]
    fn a_token_account_says_whose_it_is() {
        let mut data = account();
        let read = TokenAccount::read(&data).unwrap();
        assert!(read.has_mint(&[1; 32]) && !read.has_mint(&[2; 32]));
        assert!(read.has_owner(&[2; 32]) && !read.has_owner(&[1; 32]));
        assert!(read.is_unencumbered() && !read.has_delegate(&[0; 32]));
        data[DELEGATE_TAG] = 1;
        data[DELEGATE..DELEGATE + 32].fill(3);
        let read = TokenAccount::read(&data).unwrap();
        assert!(read.has_delegate(&[3; 32]) && !read.has_delegate(&[4; 32]) && !read.is_unencumbered());
        data[DELEGATE_TAG] = 0;
        data[CLOSE_AUTHORITY_TAG] = 1;
        assert!(!TokenAccount::read(&data).unwrap().is_unencumbered());
    }

    #[test]
    fn what_is_no_open_token_account_is_refused() {
        let mut frozen = account();
        frozen[STATE] = 2;
        let mut uninitialized = account();
        uninitialized[STATE] = 0;
        let mut mint_of_2022 = account();
        mint_of_2022.push(KIND_MINT);
        for data in [&frozen[..], &uninitialized, &mint_of_2022, &[0; 82], &[]] {
            assert!(TokenAccount::read(data).is_err());
        }
        let mut extended = account();
        extended.extend([KIND_ACCOUNT, 7, 0, 0, 0]);
        assert!(TokenAccount::read(&extended).is_ok());
    }
}
