//! Where every byte is: discriminators, account fields, and the seeds of addresses.
//!
//! Anchor's conventions, so that its clients read accounts, instructions and events: the first eight bytes
//! of SHA-256 over `global:<name>`, `account:<Name>` and `event:<Name>`. A test compares all of this with
//! the IDL.

pub const MERCHANT_SEED: &[u8] = b"merchant";
pub const ALLOWANCE_SEED: &[u8] = b"allowance";
pub const REWARD_BATCH_SEED: &[u8] = b"rewards";

pub mod instruction {
    pub const INITIALIZE_MERCHANT: [u8; 8] = [7, 90, 74, 38, 99, 111, 142, 77];
    pub const PROPOSE_AUTHORITY: [u8; 8] = [20, 148, 236, 198, 76, 119, 99, 142];
    pub const ACCEPT_AUTHORITY: [u8; 8] = [107, 86, 198, 91, 33, 12, 107, 160];
    pub const SET_PAUSED: [u8; 8] = [91, 60, 125, 192, 176, 225, 166, 218];
    pub const OPEN_ALLOWANCE: [u8; 8] = [233, 56, 143, 54, 62, 247, 107, 90];
    pub const CHANGE_ALLOWANCE: [u8; 8] = [189, 13, 37, 102, 179, 32, 44, 77];
    pub const CHARGE: [u8; 8] = [26, 55, 197, 209, 93, 77, 242, 15];
    pub const CLOSE_ALLOWANCE: [u8; 8] = [44, 1, 39, 90, 179, 29, 42, 161];
    pub const FUND_VAULT: [u8; 8] = [26, 33, 207, 242, 119, 108, 134, 73];
    pub const WITHDRAW_VAULT: [u8; 8] = [135, 7, 237, 120, 149, 94, 95, 7];
    pub const CREATE_REWARD_BATCH: [u8; 8] = [90, 190, 94, 64, 171, 66, 113, 227];
    pub const PAY_REWARD: [u8; 8] = [107, 42, 198, 186, 50, 97, 13, 165];
}

pub mod event {
    pub const MERCHANT_INITIALIZED: [u8; 8] = [96, 0, 189, 109, 128, 70, 106, 89];
    pub const AUTHORITY_PROPOSED: [u8; 8] = [244, 117, 94, 112, 53, 151, 35, 89];
    pub const AUTHORITY_ACCEPTED: [u8; 8] = [166, 192, 219, 188, 41, 209, 195, 26];
    pub const PAUSE_CHANGED: [u8; 8] = [238, 188, 213, 78, 134, 209, 178, 218];
    pub const ALLOWANCE_OPENED: [u8; 8] = [161, 38, 200, 164, 147, 211, 161, 156];
    pub const ALLOWANCE_CHANGED: [u8; 8] = [173, 117, 117, 66, 237, 150, 124, 193];
    pub const CHARGED: [u8; 8] = [167, 170, 67, 179, 47, 88, 221, 132];
    pub const ALLOWANCE_CLOSED: [u8; 8] = [178, 144, 226, 243, 156, 184, 108, 204];
    pub const VAULT_FUNDED: [u8; 8] = [192, 119, 245, 193, 55, 223, 195, 50];
    pub const VAULT_WITHDRAWN: [u8; 8] = [238, 9, 219, 172, 188, 77, 72, 104];
    pub const REWARD_BATCH_CREATED: [u8; 8] = [27, 214, 252, 48, 151, 61, 3, 99];
    pub const REWARD_PAID: [u8; 8] = [132, 160, 190, 117, 215, 177, 19, 95];
}

pub mod merchant {
    pub const DISCRIMINATOR: [u8; 8] = [71, 235, 30, 40, 231, 21, 32, 64];
    pub const CREATOR: usize = 8;
    pub const MINT: usize = 40;
    pub const TOKEN_PROGRAM: usize = 72;
    pub const AUTHORITY: usize = 104;
    pub const PENDING_AUTHORITY: usize = 136;
    pub const TREASURY: usize = 168;
    pub const REWARD_VAULT: usize = 200;
    pub const DECIMALS: usize = 232;
    pub const PAUSED: usize = 233;
    pub const BUMP: usize = 234;
    pub const LEN: usize = 235;
}

pub mod allowance {
    pub const DISCRIMINATOR: [u8; 8] = [144, 8, 184, 213, 49, 248, 73, 131];
    pub const MERCHANT: usize = 8;
    pub const OWNER: usize = 40;
    pub const TOKEN_ACCOUNT: usize = 72;
    pub const CAP_PER_PERIOD: usize = 104;
    pub const PERIOD_SECONDS: usize = 112;
    pub const MAX_PER_CHARGE: usize = 120;
    pub const EXPIRES_AT: usize = 128;
    pub const PERIOD_START: usize = 136;
    pub const SPENT_IN_PERIOD: usize = 144;
    pub const NEXT_SEQUENCE: usize = 152;
    pub const CHARGED_TOTAL: usize = 160;
    pub const LAST_REFERENCE: usize = 168;
    pub const IS_OPEN: usize = 184;
    pub const BUMP: usize = 185;
    pub const LEN: usize = 186;
}

pub mod reward_batch {
    pub const DISCRIMINATOR: [u8; 8] = [240, 51, 19, 43, 75, 153, 48, 169];
    pub const MERCHANT: usize = 8;
    pub const BATCH_ID: usize = 40;
    pub const PAID_TOTAL: usize = 56;
    pub const PAID_COUNT: usize = 64;
    pub const CAPACITY: usize = 68;
    pub const BUMP: usize = 72;
    pub const BITMAP_LENGTH: usize = 73;
    pub const BITMAP: usize = 77;
}
