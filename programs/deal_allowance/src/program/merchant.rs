//! A merchant: who charges, in which mint, into which treasury.

use super::checks::{self, is_merchants, put, require, signed};
use super::events::Event;
use super::runtime::{create_account, log};
use super::Context;
use crate::errors::AllowanceError;
use crate::layout::{event, merchant, MERCHANT_SEED};
use crate::token::{mint_decimals, TokenAccount};
use pinocchio::{
    address::address_eq,
    cpi::{Seed, Signer},
    error::ProgramError,
    AccountView, Address, ProgramResult,
};

const NOBODY: [u8; 32] = [0; 32];

/// Accounts: payer (signer, writable), creator (signer), merchant (writable), mint, treasury,
/// reward vault, token program, system program.
#[inline(never)]
pub fn initialize(context: &mut Context) -> ProgramResult {
    log("Instruction: InitializeMerchant");
    let [payer, creator, account, mint, treasury, vault, token_program, _system, ..] =
        &mut *context.accounts
    else {
        return Err(AllowanceError::NotEnoughAccounts.into());
    };
    context.arguments.end()?;
    signed(payer)?;
    signed(creator)?;
    let (address, bump) = Address::find_program_address(
        &[MERCHANT_SEED, creator.address().as_ref(), mint.address().as_ref()],
        context.program_id,
    );
    require(address_eq(&address, account.address()), AllowanceError::WrongAddress)?;
    require(!account.owned_by(context.program_id), AllowanceError::AlreadyInitialized)?;
    let decimals = check_tokens(&address, mint, token_program, treasury, vault)?;

    let bump = [bump];
    let seeds = [
        Seed::from(MERCHANT_SEED),
        Seed::from(creator.address().as_ref()),
        Seed::from(mint.address().as_ref()),
        Seed::from(&bump),
    ];
    create_account(payer, account, merchant::LEN, context.program_id, Signer::from(&seeds))?;
    let mut data = account.try_borrow_mut()?;
    put(&mut data, 0, &merchant::DISCRIMINATOR);
    put(&mut data, merchant::CREATOR, creator.address().as_ref());
    put(&mut data, merchant::MINT, mint.address().as_ref());
    put(&mut data, merchant::TOKEN_PROGRAM, token_program.address().as_ref());
    put(&mut data, merchant::AUTHORITY, creator.address().as_ref());
    put(&mut data, merchant::TREASURY, treasury.address().as_ref());
    put(&mut data, merchant::REWARD_VAULT, vault.address().as_ref());
    data[merchant::DECIMALS] = decimals;
    data[merchant::BUMP] = bump[0];

    Event::<168>::new(&event::MERCHANT_INITIALIZED)
        .address(&address)
        .address(creator.address())
        .address(mint.address())
        .address(treasury.address())
        .address(vault.address())
        .emit();
    Ok(())
}

/// The mint must keep amounts as they are, the treasury must take them, and the vault must be nobody
/// else's than the merchant's.
#[inline(always)]
fn check_tokens(
    merchant: &Address,
    mint: &AccountView,
    token_program: &AccountView,
    treasury: &AccountView,
    vault: &AccountView,
) -> Result<u8, ProgramError> {
    let program = token_program.address();
    require(checks::is_token_program(program), AllowanceError::WrongTokenProgram)?;
    require(mint.owned_by(program), AllowanceError::WrongMint)?;
    let decimals = mint_decimals(&mint.try_borrow()?)?;
    require(treasury.owned_by(program), AllowanceError::WrongTreasury)?;
    let data = treasury.try_borrow()?;
    let read = TokenAccount::read(&data)?;
    let is_treasury = read.has_mint(mint.address().as_ref()) && !read.has_owner(merchant.as_ref());
    require(is_treasury, AllowanceError::WrongTreasury)?;
    require(vault.owned_by(program), AllowanceError::WrongVault)?;
    let data = vault.try_borrow()?;
    let read = TokenAccount::read(&data)?;
    let is_vault = read.has_mint(mint.address().as_ref()) && read.has_owner(merchant.as_ref());
    require(is_vault && read.is_unencumbered(), AllowanceError::WrongVault)?;
    Ok(decimals)
}

/// Accounts: authority (signer), merchant (writable). Argument: the new authority, or zeros to withdraw.
#[inline(never)]
pub fn propose_authority(context: &mut Context) -> ProgramResult {
    log("Instruction: ProposeAuthority");
    let proposed = *context.arguments.bytes::<32>()?;
    let account = governed(context)?;
    put(&mut account.try_borrow_mut()?, merchant::PENDING_AUTHORITY, &proposed);
    Event::<72>::new(&event::AUTHORITY_PROPOSED).address(account.address()).bytes(&proposed).emit();
    Ok(())
}

/// Accounts: the proposed authority (signer), merchant (writable).
///
/// The second step proves that somebody holds the new key before the old one counts no more.
#[inline(never)]
pub fn accept_authority(context: &mut Context) -> ProgramResult {
    log("Instruction: AcceptAuthority");
    let [proposed, account, ..] = &mut *context.accounts else {
        return Err(AllowanceError::NotEnoughAccounts.into());
    };
    context.arguments.end()?;
    signed(proposed)?;
    {
        let state = checks::merchant(account, context.program_id)?;
        is_merchants(&state, merchant::PENDING_AUTHORITY, proposed, AllowanceError::NotProposed)?;
    }
    let mut data = account.try_borrow_mut()?;
    put(&mut data, merchant::AUTHORITY, proposed.address().as_ref());
    put(&mut data, merchant::PENDING_AUTHORITY, &NOBODY);
    drop(data);
    Event::<72>::new(&event::AUTHORITY_ACCEPTED)
        .address(account.address())
        .address(proposed.address())
        .emit();
    Ok(())
}

/// Accounts: authority (signer), merchant (writable). Argument: whether charges and rewards stop.
#[inline(never)]
pub fn set_paused(context: &mut Context) -> ProgramResult {
    log("Instruction: SetPaused");
    let paused = context.arguments.bool()? as u8;
    let account = governed(context)?;
    account.try_borrow_mut()?[merchant::PAUSED] = paused;
    Event::<41>::new(&event::PAUSE_CHANGED).address(account.address()).bytes(&[paused]).emit();
    Ok(())
}

/// The merchant's account of an instruction that its authority alone may give.
#[inline(always)]
fn governed<'a>(context: &'a mut Context) -> Result<&'a mut AccountView, ProgramError> {
    context.arguments.end()?;
    let [authority, account, ..] = &mut *context.accounts else {
        return Err(AllowanceError::NotEnoughAccounts.into());
    };
    checks::authority(&*checks::merchant(account, context.program_id)?, authority)?;
    Ok(account)
}
