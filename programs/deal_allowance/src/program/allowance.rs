//! An allowance: what an owner lets a merchant charge, and the charges.

use super::checks::{self, address_at, is_merchants, not_paused, put, require, signed, u64_at};
use super::events::Event;
use super::runtime::{create_account, log, now, Movement};
use super::Context;
use crate::allowance::{Charge, Moment, Terms, Usage, REFERENCE_BYTES};
use crate::errors::AllowanceError;
use crate::layout::{allowance, event, merchant, ALLOWANCE_SEED};
use crate::token::TokenAccount;
use pinocchio::{
    account::Ref,
    address::address_eq,
    cpi::{Seed, Signer},
    error::ProgramError,
    AccountView, Address, ProgramResult,
};

type AllowanceFields = [u8; allowance::LEN];

/// Accounts: payer (signer, writable), owner (signer), merchant, allowance (writable), token account,
/// system program. Arguments: the terms.
///
/// The token account must have approved the allowance as its delegate before, in the same transaction or
/// earlier. A closed allowance is opened again with the sequence that it was closed with.
#[inline(never)]
pub fn open(context: &mut Context) -> ProgramResult {
    log("Instruction: OpenAllowance");
    let terms = terms_argument(context)?;
    let program_id = context.program_id;
    let [payer, owner, merchant_account, account, token_account, _system, ..] = &mut *context.accounts else {
        return Err(AllowanceError::NotEnoughAccounts.into());
    };
    signed(payer)?;
    signed(owner)?;
    let merchant_address = merchant_account.address();
    {
        let state = checks::merchant(merchant_account, program_id)?;
        not_paused(&state)?;
        let is_treasury = address_eq(address_at(&*state, merchant::TREASURY), token_account.address());
        require(!is_treasury, AllowanceError::AccountsAliased)?;
        let token_program = address_at(&*state, merchant::TOKEN_PROGRAM);
        require(token_account.owned_by(token_program), AllowanceError::WrongTokenAccount)?;
        let data = token_account.try_borrow()?;
        let read = TokenAccount::read(&data)?;
        let is_owners = read.has_owner(owner.address().as_ref())
            && read.has_mint(address_at(&*state, merchant::MINT).as_ref());
        require(is_owners, AllowanceError::WrongTokenAccount)?;
        require(read.has_delegate(account.address().as_ref()), AllowanceError::NotDelegate)?;
    }
    let time = now()?;
    terms.check(time)?;

    if !account.owned_by(program_id) {
        let (address, bump) = Address::find_program_address(
            &[ALLOWANCE_SEED, merchant_address.as_ref(), owner.address().as_ref()],
            program_id,
        );
        require(address_eq(&address, account.address()), AllowanceError::WrongAddress)?;
        let bump = [bump];
        let seeds = [
            Seed::from(ALLOWANCE_SEED),
            Seed::from(merchant_address.as_ref()),
            Seed::from(owner.address().as_ref()),
            Seed::from(&bump),
        ];
        create_account(payer, account, allowance::LEN, program_id, Signer::from(&seeds))?;
        let mut data = account.try_borrow_mut()?;
        put(&mut data, 0, &allowance::DISCRIMINATOR);
        put(&mut data, allowance::MERCHANT, merchant_address.as_ref());
        put(&mut data, allowance::OWNER, owner.address().as_ref());
        data[allowance::BUMP] = bump[0];
    } else {
        let state = owned(account, program_id, owner)?;
        let is_merchants = address_eq(address_at(&*state, allowance::MERCHANT), merchant_address);
        require(is_merchants, AllowanceError::WrongMerchant)?;
        require(state[allowance::IS_OPEN] == 0, AllowanceError::AllowanceOpen)?;
    }
    let mut data = account.try_borrow_mut()?;
    put(&mut data, allowance::TOKEN_ACCOUNT, token_account.address().as_ref());
    put_terms(&mut data, &terms);
    put(&mut data, allowance::PERIOD_START, &time.to_le_bytes());
    put(&mut data, allowance::SPENT_IN_PERIOD, &0u64.to_le_bytes());
    data[allowance::IS_OPEN] = 1;
    let next_sequence = u64_at(&*data, allowance::NEXT_SEQUENCE);
    Event::<144>::new(&event::ALLOWANCE_OPENED)
        .address(merchant_address)
        .address(owner.address())
        .address(token_account.address())
        .u64(terms.cap_per_period)
        .u64(terms.period_seconds)
        .u64(terms.max_per_charge)
        .u64(terms.expires_at)
        .u64(next_sequence)
        .emit();
    Ok(())
}

/// Accounts: owner (signer), allowance (writable). Arguments: the new terms.
///
/// What was spent in the period stays spent; a paused merchant keeps nobody from tightening terms.
#[inline(never)]
pub fn change(context: &mut Context) -> ProgramResult {
    log("Instruction: ChangeAllowance");
    let terms = terms_argument(context)?;
    let program_id = context.program_id;
    let [owner, account, ..] = &mut *context.accounts else {
        return Err(AllowanceError::NotEnoughAccounts.into());
    };
    signed(owner)?;
    let mut usage = {
        let state = owned(account, program_id, owner)?;
        require(state[allowance::IS_OPEN] == 1, AllowanceError::AllowanceClosed)?;
        usage_of(&state)
    };
    let time = now()?;
    terms.check(time)?;
    let mut data = account.try_borrow_mut()?;
    // Under the terms that held so far: a longer period must not bring back what an earlier one spent.
    usage.roll(u64_at(&*data, allowance::PERIOD_SECONDS), time);
    put_terms(&mut data, &terms);
    put(&mut data, allowance::PERIOD_START, &usage.period_start.to_le_bytes());
    put(&mut data, allowance::SPENT_IN_PERIOD, &usage.spent_in_period.to_le_bytes());
    Event::<104>::new(&event::ALLOWANCE_CHANGED)
        .address(address_at(&*data, allowance::MERCHANT))
        .address(owner.address())
        .u64(terms.cap_per_period)
        .u64(terms.period_seconds)
        .u64(terms.max_per_charge)
        .u64(terms.expires_at)
        .emit();
    Ok(())
}

/// Accounts: owner (signer), allowance (writable).
///
/// The account stays, so that its sequence never goes back.
#[inline(never)]
pub fn close(context: &mut Context) -> ProgramResult {
    log("Instruction: CloseAllowance");
    context.arguments.end()?;
    let program_id = context.program_id;
    let [owner, account, ..] = &mut *context.accounts else {
        return Err(AllowanceError::NotEnoughAccounts.into());
    };
    signed(owner)?;
    {
        let state = owned(account, program_id, owner)?;
        require(state[allowance::IS_OPEN] == 1, AllowanceError::AllowanceClosed)?;
    }
    let mut data = account.try_borrow_mut()?;
    data[allowance::IS_OPEN] = 0;
    Event::<80>::new(&event::ALLOWANCE_CLOSED)
        .address(address_at(&*data, allowance::MERCHANT))
        .address(owner.address())
        .u64(u64_at(&*data, allowance::NEXT_SEQUENCE))
        .emit();
    Ok(())
}

/// Accounts: authority (signer), merchant, allowance (writable), token account (writable), mint,
/// treasury (writable), token program. Arguments: amount, sequence, reference.
#[inline(never)]
pub fn charge(context: &mut Context) -> ProgramResult {
    log("Instruction: Charge");
    let request = Charge { amount: context.arguments.u64()?, sequence: context.arguments.u64()? };
    let reference = context.arguments.bytes::<REFERENCE_BYTES>()?;
    context.arguments.end()?;
    let program_id = context.program_id;
    let [authority, merchant_account, account, token_account, mint, treasury, token_program, ..] =
        &mut *context.accounts
    else {
        return Err(AllowanceError::NotEnoughAccounts.into());
    };
    let time = now()?;
    let (decimals, is_paused) = {
        let state = checks::merchant(merchant_account, program_id)?;
        checks::authority(&state, authority)?;
        checks::tokens_of(&state, mint, token_program)?;
        is_merchants(&state, merchant::TREASURY, treasury, AllowanceError::WrongTreasury)?;
        (state[merchant::DECIMALS], state[merchant::PAUSED] != 0)
    };
    checks::of_kind(account, program_id, &allowance::DISCRIMINATOR)?;
    let mut owner = [0u8; 32];
    let mut bump = [0u8; 1];
    let usage = {
        let state = checks::fields::<{ allowance::LEN }>(account)?;
        let is_merchants = address_eq(address_at(&*state, allowance::MERCHANT), merchant_account.address());
        require(is_merchants, AllowanceError::WrongMerchant)?;
        let is_approved = address_eq(address_at(&*state, allowance::TOKEN_ACCOUNT), token_account.address());
        require(is_approved, AllowanceError::WrongTokenAccount)?;
        let mut usage = usage_of(&state);
        let at = Moment { now: time, is_open: state[allowance::IS_OPEN] == 1, is_paused };
        usage.charge(&terms_of(&state), &request, &at)?;
        owner.copy_from_slice(&state[allowance::OWNER..allowance::OWNER + 32]);
        bump[0] = state[allowance::BUMP];
        usage
    };
    check_source(token_account, token_program.address(), &owner)?;
    {
        // Written before the transfer, so that nothing that it leads to could find the old sequence.
        let mut data = account.try_borrow_mut()?;
        put(&mut data, allowance::PERIOD_START, &usage.period_start.to_le_bytes());
        put(&mut data, allowance::SPENT_IN_PERIOD, &usage.spent_in_period.to_le_bytes());
        put(&mut data, allowance::NEXT_SEQUENCE, &usage.next_sequence.to_le_bytes());
        put(&mut data, allowance::CHARGED_TOTAL, &usage.charged_total.to_le_bytes());
        put(&mut data, allowance::LAST_REFERENCE, reference);
    }
    let seeds = [
        Seed::from(ALLOWANCE_SEED),
        Seed::from(merchant_account.address().as_ref()),
        Seed::from(&owner),
        Seed::from(&bump),
    ];
    Movement { from: token_account, to: treasury, mint, authority: account, token_program, amount: request.amount, decimals }
        .invoke(&[Signer::from(&seeds)])?;
    Event::<120>::new(&event::CHARGED)
        .address(merchant_account.address())
        .bytes(&owner)
        .u64(request.amount)
        .u64(request.sequence)
        .bytes(reference)
        .u64(usage.spent_in_period)
        .u64(usage.period_start)
        .emit();
    Ok(())
}

/// The token account must still be the owner's, who approved this allowance and nobody else for it.
#[inline(always)]
fn check_source(account: &AccountView, token_program: &Address, owner: &[u8; 32]) -> Result<(), ProgramError> {
    require(account.owned_by(token_program), AllowanceError::WrongTokenAccount)?;
    let data = account.try_borrow()?;
    require(TokenAccount::read(&data)?.has_owner(owner), AllowanceError::WrongTokenAccount)
}

/// The owner's allowance, proven to be one and this owner's.
#[inline(always)]
fn owned<'a>(
    account: &'a AccountView,
    program_id: &Address,
    owner: &AccountView,
) -> Result<Ref<'a, AllowanceFields>, ProgramError> {
    checks::of_kind(account, program_id, &allowance::DISCRIMINATOR)?;
    let state = checks::fields::<{ allowance::LEN }>(account)?;
    let is_owners = address_eq(address_at(&*state, allowance::OWNER), owner.address());
    require(is_owners, AllowanceError::WrongOwner)?;
    Ok(state)
}

#[inline(always)]
fn terms_argument(context: &mut Context) -> Result<Terms, ProgramError> {
    let terms = Terms {
        cap_per_period: context.arguments.u64()?,
        period_seconds: context.arguments.u64()?,
        max_per_charge: context.arguments.u64()?,
        expires_at: context.arguments.u64()?,
    };
    context.arguments.end()?;
    Ok(terms)
}

#[inline(always)]
fn terms_of(state: &AllowanceFields) -> Terms {
    Terms {
        cap_per_period: u64_at(state, allowance::CAP_PER_PERIOD),
        period_seconds: u64_at(state, allowance::PERIOD_SECONDS),
        max_per_charge: u64_at(state, allowance::MAX_PER_CHARGE),
        expires_at: u64_at(state, allowance::EXPIRES_AT),
    }
}

#[inline(always)]
fn put_terms(data: &mut [u8], terms: &Terms) {
    put(data, allowance::CAP_PER_PERIOD, &terms.cap_per_period.to_le_bytes());
    put(data, allowance::PERIOD_SECONDS, &terms.period_seconds.to_le_bytes());
    put(data, allowance::MAX_PER_CHARGE, &terms.max_per_charge.to_le_bytes());
    put(data, allowance::EXPIRES_AT, &terms.expires_at.to_le_bytes());
}

#[inline(always)]
fn usage_of(state: &AllowanceFields) -> Usage {
    Usage {
        period_start: u64_at(state, allowance::PERIOD_START),
        spent_in_period: u64_at(state, allowance::SPENT_IN_PERIOD),
        next_sequence: u64_at(state, allowance::NEXT_SEQUENCE),
        charged_total: u64_at(state, allowance::CHARGED_TOTAL),
    }
}
