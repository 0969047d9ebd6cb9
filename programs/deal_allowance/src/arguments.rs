//! What an instruction's data says, read in order and to the last byte.

use crate::errors::AllowanceError;

/// Reads an instruction's arguments; whatever is missing or left over refuses the instruction.
pub struct Arguments<'a> {
    rest: &'a [u8],
}

impl<'a> Arguments<'a> {
    #[inline(always)]
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    #[inline(always)]
    pub fn bytes<const N: usize>(&mut self) -> Result<&'a [u8; N], AllowanceError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(AllowanceError::InvalidInstruction)?;
        self.rest = tail;
        Ok(head)
    }

    #[inline(always)]
    pub fn u64(&mut self) -> Result<u64, AllowanceError> {
        Ok(u64::from_le_bytes(*self.bytes()?))
    }

    #[inline(always)]
    pub fn u32(&mut self) -> Result<u32, AllowanceError> {
        Ok(u32::from_le_bytes(*self.bytes()?))
    }

    #[inline(always)]
    pub fn bool(&mut self) -> Result<bool, AllowanceError> {
        match self.bytes::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(AllowanceError::InvalidInstruction),
        }
    }

    #[inline(always)]
    pub fn end(&self) -> Result<(), AllowanceError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(AllowanceError::InvalidInstruction)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_in_order_and_to_the_end() {
        let mut data = 7u64.to_le_bytes().to_vec();
        data.extend(9u32.to_le_bytes());
        data.extend([1, 0, 5]);
        let mut arguments = Arguments::new(&data);
        assert_eq!(arguments.u64(), Ok(7));
        assert_eq!(arguments.u32(), Ok(9));
        assert_eq!((arguments.bool(), arguments.bool()), (Ok(true), Ok(false)));
        assert_eq!(arguments.bytes::<1>(), Ok(&[5]));
        assert_eq!(arguments.end(), Ok(()));
    }

    #[test]
    fn too_much_too_little_and_no_truth_value_are_refused() {
        let refused = Err(AllowanceError::InvalidInstruction);
        assert_eq!(Arguments::new(&[0; 7]).u64(), Err(AllowanceError::InvalidInstruction));
        assert_eq!(Arguments::new(&[2]).bool(), Err(AllowanceError::InvalidInstruction));
        assert_eq!(Arguments::new(&[0]).end(), refused);
    }
}
