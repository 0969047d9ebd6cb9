//! What an owner allows, and what of it is used: the rules of a charge, without any account or chain.

use crate::errors::AllowanceError;

pub const MIN_PERIOD_SECONDS: u64 = 60;
pub const MAX_PERIOD_SECONDS: u64 = 10 * 366 * 24 * 3600;
pub const REFERENCE_BYTES: usize = 16;

/// What the owner set; `expires_at` is a Unix time, 0 for never.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    pub cap_per_period: u64,
    pub period_seconds: u64,
    pub max_per_charge: u64,
    pub expires_at: u64,
}

impl Terms {
    /// Refuse terms that contradict themselves or that no charge could ever meet.
    #[inline(always)]
    pub fn check(&self, now: u64) -> Result<(), AllowanceError> {
        let period_is_sound = self.period_seconds >= MIN_PERIOD_SECONDS && self.period_seconds <= MAX_PERIOD_SECONDS;
        let amounts_are_sound = self.max_per_charge > 0 && self.max_per_charge <= self.cap_per_period;
        if !period_is_sound || !amounts_are_sound || self.is_expired(now) {
            return Err(AllowanceError::InvalidTerms);
        }
        Ok(())
    }

    #[inline(always)]
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires_at != 0 && now >= self.expires_at
    }
}

/// What was used of the terms; the sequence never goes back, whatever becomes of the allowance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    pub period_start: u64,
    pub spent_in_period: u64,
    pub next_sequence: u64,
    pub charged_total: u64,
}

impl Usage {
    /// Begin the period that holds `now`; periods follow one another without gaps from the first one on.
    #[inline(always)]
    pub fn roll(&mut self, period_seconds: u64, now: u64) {
        let elapsed = now.saturating_sub(self.period_start);
        // No period of zero passes `Terms::check`; the bound spares the division its panic.
        let period = period_seconds.max(1);
        if elapsed >= period {
            self.period_start = self.period_start.saturating_add(elapsed - elapsed % period);
            self.spent_in_period = 0;
        }
    }

    /// Take a charge, or refuse it and leave everything as it was but for the period that rolled on.
    ///
    /// The sequence is judged first: whoever signed a charge again learns before anything else that an
    /// earlier one landed.
    #[inline(always)]
    pub fn charge(&mut self, terms: &Terms, request: &Charge, at: &Moment) -> Result<(), AllowanceError> {
        if request.sequence != self.next_sequence {
            return Err(AllowanceError::WrongSequence);
        }
        if !at.is_open {
            return Err(AllowanceError::AllowanceClosed);
        }
        if at.is_paused {
            return Err(AllowanceError::MerchantPaused);
        }
        if terms.is_expired(at.now) {
            return Err(AllowanceError::AllowanceExpired);
        }
        if request.amount == 0 {
            return Err(AllowanceError::ZeroAmount);
        }
        if request.amount > terms.max_per_charge {
            return Err(AllowanceError::OverChargeLimit);
        }
        self.roll(terms.period_seconds, at.now);
        // What was spent under terms that were since lowered may be over the cap of today.
        let left = terms.cap_per_period.saturating_sub(self.spent_in_period);
        if request.amount > left {
            return Err(AllowanceError::OverPeriodCap);
        }
        let next = self.next_sequence.checked_add(1);
        let total = self.charged_total.checked_add(request.amount);
        let (Some(next), Some(total)) = (next, total) else {
            return Err(AllowanceError::ArithmeticOverflow);
        };
        // Cannot overflow: the sum is at most the cap.
        self.spent_in_period = self.spent_in_period.wrapping_add(request.amount);
        self.next_sequence = next;
        self.charged_total = total;
        Ok(())
    }
}

/// One charge as its signer asks for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Charge {
    pub amount: u64,
    pub sequence: u64,
}

/// When a charge arrives, and what it finds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    pub now: u64,
    pub is_open: bool,
    pub is_paused: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use AllowanceError::*;

    const TERMS: Terms = Terms { cap_per_period: 100, period_seconds: 3600, max_per_charge: 60, expires_at: 10_000 };
    const FRESH: Usage = Usage { period_start: 1_000, spent_in_period: 0, next_sequence: 7, charged_total: 0 };

    fn charged(usage: Usage, amount: u64, sequence: u64, now: u64) -> Result<Usage, AllowanceError> {
        charged_at(usage, amount, sequence, &Moment { now, is_open: true, is_paused: false })
    }

    fn charged_at(usage: Usage, amount: u64, sequence: u64, at: &Moment) -> Result<Usage, AllowanceError> {
        let mut after = usage;
        after.charge(&TERMS, &Charge { amount, sequence }, at).map(|()| after)
    }

    #[test]
    fn a_closed_allowance_and_a_paused_merchant_charge_nothing() {
        let closed = Moment { now: 2_000, is_open: false, is_paused: true };
        assert_eq!(charged_at(FRESH, 1, 7, &closed), Err(AllowanceClosed));
        assert_eq!(charged_at(FRESH, 1, 6, &closed), Err(WrongSequence));
        let paused = Moment { is_open: true, ..closed };
        assert_eq!(charged_at(FRESH, 1, 7, &paused), Err(MerchantPaused));
    }

    #[test]
    fn a_charge_moves_every_counter() {
        let after = charged(FRESH, 60, 7, 2_000).unwrap();
        assert_eq!(after, Usage { spent_in_period: 60, next_sequence: 8, charged_total: 60, ..FRESH });
    }

    #[test]
    fn the_same_sequence_never_passes_twice() {
        let after = charged(FRESH, 1, 7, 2_000).unwrap();
        assert_eq!(charged(after, 1, 7, 2_000), Err(WrongSequence));
        assert_eq!(charged(FRESH, 1, 6, 2_000), Err(WrongSequence));
        assert_eq!(charged(FRESH, 1, 8, 2_000), Err(WrongSequence));
    }

    #[test]
    fn a_used_sequence_is_told_before_every_other_refusal() {
        assert_eq!(charged(FRESH, 0, 6, 10_000), Err(WrongSequence));
    }

    #[test]
    fn each_limit_refuses_one_unit_too_many_and_no_less() {
        assert_eq!(charged(FRESH, 0, 7, 2_000), Err(ZeroAmount));
        assert_eq!(charged(FRESH, 61, 7, 2_000), Err(OverChargeLimit));
        let after = charged(FRESH, 60, 7, 2_000).unwrap();
        assert_eq!(charged(after, 41, 8, 2_000), Err(OverPeriodCap));
        assert_eq!(charged(after, 40, 8, 2_000).unwrap().spent_in_period, 100);
    }

    #[test]
    fn an_allowance_ends_at_its_expiry() {
        assert!(charged(FRESH, 1, 7, 9_999).is_ok());
        assert_eq!(charged(FRESH, 1, 7, 10_000), Err(AllowanceExpired));
    }

    #[test]
    fn periods_follow_without_gaps() {
        let spent = charged(FRESH, 60, 7, 4_599).unwrap();
        assert_eq!(spent.period_start, 1_000);
        let next = charged(spent, 60, 8, 4_600).unwrap();
        assert_eq!((next.period_start, next.spent_in_period), (4_600, 60));
        let mut later = FRESH;
        later.roll(3600, 1_000 + 3 * 3600 + 17);
        assert_eq!(later.period_start, 1_000 + 3 * 3600);
    }

    #[test]
    fn a_clock_that_goes_back_opens_no_new_period() {
        let spent = charged(FRESH, 60, 7, 2_000).unwrap();
        assert_eq!(charged(spent, 60, 8, 0), Err(OverPeriodCap));
    }

    #[test]
    fn a_lowered_cap_leaves_nothing_instead_of_wrapping() {
        let spent = Usage { spent_in_period: 200, ..FRESH };
        assert_eq!(charged(spent, 1, 7, 2_000), Err(OverPeriodCap));
    }

    #[test]
    fn counters_stop_before_they_overflow() {
        let last = Usage { next_sequence: u64::MAX, ..FRESH };
        assert_eq!(charged(last, 1, u64::MAX, 2_000), Err(ArithmeticOverflow));
        let full = Usage { charged_total: u64::MAX, ..FRESH };
        assert_eq!(charged(full, 1, 7, 2_000), Err(ArithmeticOverflow));
        let mut ended = FRESH;
        ended.roll(1, u64::MAX);
        assert_eq!(ended.period_start, u64::MAX);
    }

    #[test]
    fn terms_must_be_possible() {
        assert_eq!(TERMS.check(0), Ok(()));
        assert_eq!(Terms { expires_at: 0, ..TERMS }.check(u64::MAX), Ok(()));
        let impossible = [
            Terms { period_seconds: MIN_PERIOD_SECONDS - 1, ..TERMS },
            Terms { period_seconds: MAX_PERIOD_SECONDS + 1, ..TERMS },
            Terms { max_per_charge: 0, ..TERMS },
            Terms { max_per_charge: 101, ..TERMS },
            Terms { cap_per_period: 0, max_per_charge: 0, ..TERMS },
            Terms { expires_at: 1, ..TERMS },
        ];
        for terms in impossible {
            assert_eq!(terms.check(1), Err(InvalidTerms), "{terms:?}");
        }
    }
}
