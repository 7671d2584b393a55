//! Powers of a fixed base by a comb: its powers 2^128, 2^256 and 2^384 and their products are made
//! once, and a private exponent of 512 bits then takes 128 squarings instead of 512. Constant time:
//! each step looks at the whole table.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{CtAssign, CtEq, U512, Uint};
use zeroize::{Zeroize, Zeroizing};

/// Rows of the exponent, one bit of each in a step.
const TEETH: u32 = 4;
const COLUMNS: u32 = U512::BITS / TEETH;

/// What is made once for a base and a modulus.
pub(super) struct Comb<const LIMBS: usize> {
    params: FixedMontyParams<LIMBS>,
    /// For each choice of teeth the product of their powers, in Montgomery form.
    products: [Uint<LIMBS>; 1 << TEETH],
}

impl<const LIMBS: usize> Comb<LIMBS> {
    /// The base is public, and so is how long this takes.
    pub fn new(base: &Uint<LIMBS>, params: FixedMontyParams<LIMBS>) -> Self {
        let mut tooth = FixedMontyForm::new(base, &params);
        let mut products = [*FixedMontyForm::one(&params).as_montgomery(); 1 << TEETH];
        for number in 0..TEETH {
            let first = 1 << number;
            for at in 0..first {
                let product = FixedMontyForm::from_montgomery(products[at], &params) * tooth;
                products[first + at] = *product.as_montgomery();
            }
            tooth = tooth.square_repeat_vartime(COLUMNS);
        }
        Self { params, products }
    }

    /// The base to the power of `exponent`.
    pub fn power(&self, exponent: &U512) -> Zeroizing<Uint<LIMBS>> {
        let mut result = Zeroizing::new(FixedMontyForm::one(&self.params));
        let mut factor = Zeroizing::new(self.products[0]);
        for column in (0..COLUMNS).rev() {
            let mut choice = Zeroizing::new(0u8);
            for tooth in 0..TEETH {
                let bit = exponent.bit(tooth * COLUMNS + column);
                *choice |= u8::from(bit) << tooth;
            }
            for (product, at) in self.products.iter().zip(0u8..) {
                factor.ct_assign(product, at.ct_eq(&choice));
            }
            let factor = FixedMontyForm::from_montgomery(*factor, &self.params);
            *result = result.square() * factor;
        }
        factor.zeroize();
        Zeroizing::new(result.retrieve())
    }
}

#[cfg(test)]
mod tests {
    use crypto_bigint::{Odd, U256};

    use super::*;

    #[test]
    fn a_comb_gives_the_same_powers_as_multiplication() {
        let prime =
            U256::from_be_hex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
        let params = FixedMontyParams::new_vartime(Odd::new(prime).unwrap());
        let base = U256::from_u8(3);
        let comb = Comb::new(&base, params);
        let slow = FixedMontyForm::new(&base, &params);
        let mut exponent = U512::ONE;
        for _ in 0..300 {
            let expected = slow.pow(&exponent).retrieve();
            assert_eq!(*comb.power(&exponent), expected);
            exponent = exponent.wrapping_mul(&U512::from_u64(0x9e37_79b9_7f4a_7c15));
        }
        assert_eq!(*comb.power(&U512::ZERO), U256::ONE);
        assert_eq!(*comb.power(&U512::MAX), slow.pow(&U512::MAX).retrieve());
    }
}
