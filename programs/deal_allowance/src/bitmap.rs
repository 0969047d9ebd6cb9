//! One bit per reward of a batch: set once, never cleared.

use crate::errors::AllowanceError;

pub const MAX_CAPACITY: u32 = 65_536;

/// Return how many bytes hold a bit for each of `capacity` rewards.
#[inline(always)]
pub fn bytes_for(capacity: u32) -> Result<usize, AllowanceError> {
    if capacity == 0 || capacity > MAX_CAPACITY {
        return Err(AllowanceError::InvalidCapacity);
    }
    Ok((capacity as usize).div_ceil(8))
}

/// Set the bit of a reward, or refuse one that is set.
#[inline(always)]
pub fn set(bitmap: &mut [u8], capacity: u32, index: u32) -> Result<(), AllowanceError> {
    if index >= capacity {
        return Err(AllowanceError::IndexOutOfRange);
    }
    let byte = bitmap.get_mut((index >> 3) as usize).ok_or(AllowanceError::IndexOutOfRange)?;
    let bit = 1u8 << (index & 7);
    if *byte & bit != 0 {
        return Err(AllowanceError::AlreadyPaid);
    }
    *byte |= bit;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_paid_once() {
        let mut bitmap = [0u8; 3];
        for index in 0..20 {
            assert_eq!(set(&mut bitmap, 20, index), Ok(()));
            assert_eq!(set(&mut bitmap, 20, index), Err(AllowanceError::AlreadyPaid));
        }
        assert_eq!(bitmap, [0xff, 0xff, 0x0f]);
        assert_eq!(set(&mut bitmap, 20, 20), Err(AllowanceError::IndexOutOfRange));
        assert_eq!(set(&mut bitmap, 64, 24), Err(AllowanceError::IndexOutOfRange));
    }

    #[test]
    fn capacities_have_bounds() {
        assert_eq!(bytes_for(1), Ok(1));
        assert_eq!(bytes_for(9), Ok(2));
        assert_eq!(bytes_for(MAX_CAPACITY), Ok(8192));
        assert_eq!(bytes_for(0), Err(AllowanceError::InvalidCapacity));
        assert_eq!(bytes_for(MAX_CAPACITY + 1), Err(AllowanceError::InvalidCapacity));
    }
}
