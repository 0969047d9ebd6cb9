//! The reward vault, and rewards out of it, each index of a batch at most once.

use super::checks::{self, address_at, differ, is_merchants, not_paused, put, require, signed, u32_at, u64_at};
use super::events::Event;
use super::runtime::{create_account, log, Movement};
use super::Context;
use crate::bitmap;
use crate::errors::AllowanceError;
use crate::layout::{event, merchant, reward_batch, MERCHANT_SEED, REWARD_BATCH_SEED};
use pinocchio::{
    address::address_eq,
    cpi::{Seed, Signer},
    Address, ProgramResult,
};

const BATCH_ID_BYTES: usize = 16;

/// Accounts: funder (signer), merchant, source (writable), vault (writable), mint, token program.
/// Argument: amount.
#[inline(never)]
pub fn fund_vault(context: &mut Context) -> ProgramResult {
    log("Instruction: FundVault");
    let amount = context.arguments.u64()?;
    context.arguments.end()?;
    let [funder, merchant_account, source, vault, mint, token_program, ..] = &mut *context.accounts else {
        return Err(AllowanceError::NotEnoughAccounts.into());
    };
    signed(funder)?;
    differ(source, vault)?;
    let decimals = {
        let state = checks::merchant(merchant_account, context.program_id)?;
        checks::tokens_of(&state, mint, token_program)?;
        is_merchants(&state, merchant::REWARD_VAULT, vault, AllowanceError::WrongVault)?;
        state[merchant::DECIMALS]
    };
    require(amount > 0, AllowanceError::ZeroAmount)?;
    Movement { from: source, to: vault, mint, authority: funder, token_program, amount, decimals }
        .invoke(&[])?;
    Event::<80>::new(&event::VAULT_FUNDED)
        .address(merchant_account.address())
        .address(funder.address())
        .u64(amount)
        .emit();
    Ok(())
}

/// Accounts: authority (signer), merchant, vault (writable), treasury (writable), mint, token program.
/// Argument: amount.
///
/// What the vault does not pay out goes back to the treasury, and nowhere else.
#[inline(never)]
pub fn withdraw_vault(context: &mut Context) -> ProgramResult {
    log("Instruction: WithdrawVault");
    let amount = context.arguments.u64()?;
    context.arguments.end()?;
    let [authority, merchant_account, vault, treasury, mint, token_program, ..] = &mut *context.accounts
    else {
        return Err(AllowanceError::NotEnoughAccounts.into());
    };
    let keys = {
        let state = checks::merchant(merchant_account, context.program_id)?;
        checks::authority(&state, authority)?;
        checks::tokens_of(&state, mint, token_program)?;
        is_merchants(&state, merchant::REWARD_VAULT, vault, AllowanceError::WrongVault)?;
        is_merchants(&state, merchant::TREASURY, treasury, AllowanceError::WrongTreasury)?;
        VaultKeys::of(&state)
    };
    require(amount > 0, AllowanceError::ZeroAmount)?;
    let decimals = keys.decimals;
    Movement { from: vault, to: treasury, mint, authority: merchant_account, token_program, amount, decimals }
        .invoke(&[Signer::from(&keys.seeds())])?;
    Event::<48>::new(&event::VAULT_WITHDRAWN).address(merchant_account.address()).u64(amount).emit();
    Ok(())
}

/// Accounts: payer (signer, writable), authority (signer), merchant, batch (writable), system program.
/// Arguments: the batch's id, how many rewards it has.
#[inline(never)]
pub fn create_batch(context: &mut Context) -> ProgramResult {
    log("Instruction: CreateRewardBatch");
    let batch_id = context.arguments.bytes::<BATCH_ID_BYTES>()?;
    let capacity = context.arguments.u32()?;
    context.arguments.end()?;
    let program_id = context.program_id;
    let [payer, authority, merchant_account, account, _system, ..] = &mut *context.accounts else {
        return Err(AllowanceError::NotEnoughAccounts.into());
    };
    signed(payer)?;
    checks::authority(&*checks::merchant(merchant_account, program_id)?, authority)?;
    let bitmap_bytes = bitmap::bytes_for(capacity)?;
    let (address, bump) = Address::find_program_address(
        &[REWARD_BATCH_SEED, merchant_account.address().as_ref(), batch_id],
        program_id,
    );
    require(address_eq(&address, account.address()), AllowanceError::WrongAddress)?;
    require(!account.owned_by(program_id), AllowanceError::AlreadyInitialized)?;
    let bump = [bump];
    let seeds = [
        Seed::from(REWARD_BATCH_SEED),
        Seed::from(merchant_account.address().as_ref()),
        Seed::from(batch_id),
        Seed::from(&bump),
    ];
    let bytes = reward_batch::BITMAP + bitmap_bytes;
    create_account(payer, account, bytes, program_id, Signer::from(&seeds))?;
    let mut data = account.try_borrow_mut()?;
    put(&mut data, 0, &reward_batch::DISCRIMINATOR);
    put(&mut data, reward_batch::MERCHANT, merchant_account.address().as_ref());
    put(&mut data, reward_batch::BATCH_ID, batch_id);
    put(&mut data, reward_batch::CAPACITY, &capacity.to_le_bytes());
    put(&mut data, reward_batch::BITMAP_LENGTH, &(bitmap_bytes as u32).to_le_bytes());
    data[reward_batch::BUMP] = bump[0];
    Event::<60>::new(&event::REWARD_BATCH_CREATED)
        .address(merchant_account.address())
        .bytes(batch_id)
        .u32(capacity)
        .emit();
    Ok(())
}

/// Accounts: authority (signer), merchant, batch (writable), vault (writable), destination (writable),
/// mint, token program. Arguments: index, amount.
#[inline(never)]
pub fn pay_reward(context: &mut Context) -> ProgramResult {
    log("Instruction: PayReward");
    let index = context.arguments.u32()?;
    let amount = context.arguments.u64()?;
    context.arguments.end()?;
    let program_id = context.program_id;
    let [authority, merchant_account, account, vault, destination, mint, token_program, ..] =
        &mut *context.accounts
    else {
        return Err(AllowanceError::NotEnoughAccounts.into());
    };
    differ(vault, destination)?;
    let keys = {
        let state = checks::merchant(merchant_account, program_id)?;
        checks::authority(&state, authority)?;
        not_paused(&state)?;
        checks::tokens_of(&state, mint, token_program)?;
        is_merchants(&state, merchant::REWARD_VAULT, vault, AllowanceError::WrongVault)?;
        VaultKeys::of(&state)
    };
    checks::of_kind(account, program_id, &reward_batch::DISCRIMINATOR)?;
    let mut batch_id = [0u8; BATCH_ID_BYTES];
    {
        let mut data = account.try_borrow_mut()?;
        let is_ours = address_eq(address_at(&data, reward_batch::MERCHANT), merchant_account.address());
        require(is_ours, AllowanceError::WrongMerchant)?;
        let capacity = u32_at(&data, reward_batch::CAPACITY);
        let total = u64_at(&data, reward_batch::PAID_TOTAL).checked_add(amount);
        let count = u32_at(&data, reward_batch::PAID_COUNT);
        // A bit that is set is told before everything else that may be wrong with a reward.
        bitmap::set(&mut data[reward_batch::BITMAP..], capacity, index)?;
        require(amount > 0, AllowanceError::ZeroAmount)?;
        let total = total.ok_or(AllowanceError::ArithmeticOverflow)?;
        put(&mut data, reward_batch::PAID_TOTAL, &total.to_le_bytes());
        // One per bit, so at most the capacity.
        put(&mut data, reward_batch::PAID_COUNT, &count.wrapping_add(1).to_le_bytes());
        batch_id.copy_from_slice(&data[reward_batch::BATCH_ID..reward_batch::BATCH_ID + BATCH_ID_BYTES]);
    }
    let decimals = keys.decimals;
    Movement { from: vault, to: destination, mint, authority: merchant_account, token_program, amount, decimals }
        .invoke(&[Signer::from(&keys.seeds())])?;
    Event::<100>::new(&event::REWARD_PAID)
        .address(merchant_account.address())
        .bytes(&batch_id)
        .u32(index)
        .u64(amount)
        .address(destination.address())
        .emit();
    Ok(())
}

/// What the merchant's address is made of, by which it signs for its vault.
struct VaultKeys {
    creator: [u8; 32],
    mint: [u8; 32],
    bump: [u8; 1],
    decimals: u8,
}

impl VaultKeys {
    #[inline(always)]
    fn of(state: &checks::MerchantFields) -> Self {
        Self {
            creator: address_at(state, merchant::CREATOR).to_bytes(),
            mint: address_at(state, merchant::MINT).to_bytes(),
            bump: [state[merchant::BUMP]],
            decimals: state[merchant::DECIMALS],
        }
    }

    #[inline(always)]
    fn seeds(&self) -> [Seed<'_>; 4] {
        [
            Seed::from(MERCHANT_SEED),
            Seed::from(&self.creator),
            Seed::from(&self.mint),
            Seed::from(&self.bump),
        ]
    }
}
