//! The instructions: which accounts they take, what they check of them, and what they change.
//!
//! LLVM's BPF target passes at most five words to a function, so each instruction takes one `&mut Context`
//! and everything else is inlined.

mod allowance;
mod checks;
mod events;
mod merchant;
mod rewards;
mod runtime;

use crate::arguments::Arguments;
use crate::errors::AllowanceError;
use crate::layout::instruction;
use pinocchio::{
    error::ProgramError, no_allocator, nostd_panic_handler, program_entrypoint, AccountView, Address,
    ProgramResult,
};

const MAX_ACCOUNTS: usize = 16;

program_entrypoint!(process_instruction, MAX_ACCOUNTS);
no_allocator!();
nostd_panic_handler!();

impl From<AllowanceError> for ProgramError {
    fn from(error: AllowanceError) -> Self {
        ProgramError::Custom(error as u32)
    }
}

/// What an instruction was called with.
struct Context<'a> {
    program_id: &'a Address,
    accounts: &'a mut [AccountView],
    arguments: Arguments<'a>,
}

#[inline(always)]
fn process_instruction(program_id: &Address, accounts: &mut [AccountView], data: &[u8]) -> ProgramResult {
    let mut arguments = Arguments::new(data);
    let discriminator = arguments.bytes::<8>()?;
    let mut context = Context { program_id, accounts, arguments };
    match *discriminator {
        instruction::CHARGE => allowance::charge(&mut context),
        instruction::PAY_REWARD => rewards::pay_reward(&mut context),
        instruction::OPEN_ALLOWANCE => allowance::open(&mut context),
        instruction::CHANGE_ALLOWANCE => allowance::change(&mut context),
        instruction::CLOSE_ALLOWANCE => allowance::close(&mut context),
        instruction::INITIALIZE_MERCHANT => merchant::initialize(&mut context),
        instruction::PROPOSE_AUTHORITY => merchant::propose_authority(&mut context),
        instruction::ACCEPT_AUTHORITY => merchant::accept_authority(&mut context),
        instruction::SET_PAUSED => merchant::set_paused(&mut context),
        instruction::FUND_VAULT => rewards::fund_vault(&mut context),
        instruction::WITHDRAW_VAULT => rewards::withdraw_vault(&mut context),
        instruction::CREATE_REWARD_BATCH => rewards::create_batch(&mut context),
        _ => Err(AllowanceError::InvalidInstruction.into()),
    }
}
