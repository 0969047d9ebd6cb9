//! Why the program refuses, numbered as Anchor numbers a program's own errors.
//!
//! The first sentence of each comment is the message that the IDL carries; a test compares the two.

#[repr(u32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AllowanceError {
    /// The instruction is unknown, or its data has another length
    InvalidInstruction = 6000,
    /// The instruction needs more accounts
    NotEnoughAccounts = 6001,
    /// An account that must sign did not sign
    MissingSignature = 6002,
    /// The account is not at the address that its seeds give
    WrongAddress = 6003,
    /// The account is not owned by this program
    WrongAccountOwner = 6004,
    /// The account is of another kind than the instruction needs
    WrongAccountKind = 6005,
    /// The account exists already
    AlreadyInitialized = 6006,
    /// The signer is not the merchant's authority
    WrongAuthority = 6007,
    /// Nobody, or somebody else, was proposed as the merchant's authority
    NotProposed = 6008,
    /// The account belongs to another merchant
    WrongMerchant = 6009,
    /// The signer is not the owner
    WrongOwner = 6010,
    /// The mint is not the merchant's, or is no initialized mint
    WrongMint = 6011,
    /// The token program is not the merchant's, or is no token program
    WrongTokenProgram = 6012,
    /// The mint has an extension under which amounts could not be trusted
    UnsupportedMint = 6013,
    /// The account is no token account of this mint and owner, or not the one that was approved
    WrongTokenAccount = 6014,
    /// The account is not the merchant's treasury, or cannot be one
    WrongTreasury = 6015,
    /// The account is not the merchant's reward vault, or cannot be one
    WrongVault = 6016,
    /// Two accounts that must differ are the same
    AccountsAliased = 6017,
    /// The token account has not approved the allowance as its delegate
    NotDelegate = 6018,
    /// The merchant is paused
    MerchantPaused = 6019,
    /// The allowance is closed
    AllowanceClosed = 6020,
    /// The allowance is open already
    AllowanceOpen = 6021,
    /// The allowance has expired
    AllowanceExpired = 6022,
    /// The sequence is not the allowance's next one
    WrongSequence = 6023,
    /// The amount is zero
    ZeroAmount = 6024,
    /// The amount is over the most that one charge may take
    OverChargeLimit = 6025,
    /// The amount is over what is left of the period's cap
    OverPeriodCap = 6026,
    /// The terms are contradictory or out of range
    InvalidTerms = 6027,
    /// The batch's capacity is zero or too large
    InvalidCapacity = 6028,
    /// The index is not one of the batch's
    IndexOutOfRange = 6029,
    /// The reward of this index was paid already
    AlreadyPaid = 6030,
    /// A sum does not fit 64 bits
    ArithmeticOverflow = 6031,
    /// The cluster's rent is kept in a form that the program does not know
    UnknownRent = 6032,
}
