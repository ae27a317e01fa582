//! The numbers of an RSA key: bounds, and the exponents that OpenSSH's key format leaves out.

use crypto_bigint::{BoxedUint, NonZero};
use zeroize::Zeroizing;

use super::{KeyRejected, strip_leading_zeros};
use crate::Unauthentic;

/// 8192 bits: verification beyond that is a way to waste our time, and both backends stop there.
pub(super) const MAX_MODULUS_LEN: usize = 1024;
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// AWS-LC's and *ring*'s bound: 33 bits, which every exponent in use stays far below.
const MAX_EXPONENT_BITS: usize = 33;

/// An RSA private key as OpenSSH's private key format stores it; all numbers big-endian, leading zeros permitted.
pub struct RsaComponents<'a> {
    /// The modulus.
    pub n: &'a [u8],
    /// The public exponent.
    pub e: &'a [u8],
    /// The private exponent.
    pub d: &'a [u8],
    /// The inverse of `q` modulo `p`.
    pub iqmp: &'a [u8],
    /// The first prime.
    pub p: &'a [u8],
    /// The second prime.
    pub q: &'a [u8],
}

/// A private key with the exponents of the Chinese remainder theorem, without leading zeros.
pub(crate) struct CrtComponents<'a> {
    pub(crate) n: &'a [u8],
    pub(crate) e: &'a [u8],
    pub(crate) d: &'a [u8],
    pub(crate) p: &'a [u8],
    pub(crate) q: &'a [u8],
    pub(crate) d_mod_p_minus_1: Zeroizing<Vec<u8>>,
    pub(crate) d_mod_q_minus_1: Zeroizing<Vec<u8>>,
    pub(crate) iqmp: &'a [u8],
}

impl<'a> CrtComponents<'a> {
    pub(super) fn derive(key: &RsaComponents<'a>) -> Result<Self, KeyRejected> {
        let (n, e) = check_public(key.n, key.e)?;
        let [d, p, q, iqmp] = [key.d, key.p, key.q, key.iqmp].map(strip_leading_zeros);
        if [d, p, q, iqmp]
            .iter()
            .any(|number| number.is_empty() || number.len() > n.len())
        {
            return Err(KeyRejected("private numbers are zero or longer than the modulus"));
        }
        let (d_mod_p_minus_1, d_mod_q_minus_1) = (reduce(d, p)?, reduce(d, q)?);
        Ok(CrtComponents {
            n,
            e,
            d,
            p,
            q,
            d_mod_p_minus_1,
            d_mod_q_minus_1,
            iqmp,
        })
    }
}

/// `d mod (prime - 1)`, in a time that depends on the lengths alone.
fn reduce(d: &[u8], prime: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyRejected> {
    let d = Zeroizing::new(BoxedUint::from_be_slice_vartime(d));
    let prime = Zeroizing::new(BoxedUint::from_be_slice_vartime(prime));
    let modulus = prime.wrapping_sub(BoxedUint::one_with_precision(prime.bits_precision()));
    let modulus =
        Option::<NonZero<BoxedUint>>::from(modulus.into_nz()).ok_or(KeyRejected("a prime is one"))?;
    let rest = Zeroizing::new(d.rem(&modulus));
    drop(Zeroizing::new(modulus.get()));
    let bytes = Zeroizing::new(rest.to_be_bytes().into_vec());
    let reduced = Zeroizing::new(strip_leading_zeros(&bytes).to_vec());
    if reduced.is_empty() {
        Err(KeyRejected("an exponent is zero"))
    } else {
        Ok(reduced)
    }
}

/// Bounds of a public key; returns both numbers without leading zeros.
pub(super) fn check_public<'a>(n: &'a [u8], e: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), KeyRejected> {
    let (n, e) = (strip_leading_zeros(n), strip_leading_zeros(e));
    if !MODULUS_BITS.contains(&bits(n)) {
        return Err(KeyRejected("modulus does not have 2048 to 8192 bits"));
    }
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    if !is_odd(n) || !is_odd(e) || e == [1] || bits(e) > MAX_EXPONENT_BITS {
        return Err(KeyRejected(
            "modulus or exponent is even, or the exponent is 1 or above 33 bits",
        ));
    }
    Ok((n, e))
}

/// `signature` as a number of exactly `modulus_len` bytes.
///
/// RFC 8332 §3 has it encoded as RFC 8017's octet string, which is as long as the modulus; some signers leave leading
/// zero bytes out all the same, and OpenSSH puts them back, so this does too.
pub(super) fn full_length<'a>(
    signature: &'a [u8],
    modulus_len: usize,
    room: &'a mut [u8; MAX_MODULUS_LEN],
) -> Result<&'a [u8], Unauthentic> {
    let missing = modulus_len.checked_sub(signature.len()).ok_or(Unauthentic)?;
    if missing == 0 {
        return Ok(signature);
    }
    room[missing..modulus_len].copy_from_slice(signature);
    Ok(&room[..modulus_len])
}

fn bits(number: &[u8]) -> usize {
    number
        .first()
        .map_or(0, |top| number.len() * 8 - top.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moduli_are_bounded_in_bits() {
        let odd = |bits: usize| {
            let mut n = vec![0; bits.div_ceil(8)];
            n[0] = 1 << ((bits - 1) % 8);
            *n.last_mut().unwrap() |= 1;
            n
        };
        let e = [1, 0, 1];
        for good in [2048, 2049, 3072, 8192] {
            assert!(check_public(&odd(good), &e).is_ok(), "{good}");
        }
        for bad in [512, 1024, 2047, 8193, 16384] {
            assert!(check_public(&odd(bad), &e).is_err(), "{bad}");
        }
        let with_zero = [&[0][..], &odd(2048)].concat();
        assert_eq!(
            check_public(&with_zero, &[0, 1, 0, 1]).unwrap(),
            (&odd(2048)[..], &e[..])
        );
        for bad in [&[][..], &[0], &[1], &[4], &[2, 0, 0, 0, 1, 1], &[4, 0, 0, 0, 1]] {
            assert!(check_public(&odd(2048), bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reduction_agrees_with_small_numbers() {
        // 0x1234_5678 mod 0x100, and 2^72 - 1 mod 250.
        assert_eq!(
            &reduce(&[0x12, 0x34, 0x56, 0x78], &[0x01, 0x01]).unwrap()[..],
            [0x78]
        );
        assert_eq!(
            &reduce(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &[0xfb]).unwrap()[..],
            [0xc3]
        );
        assert!(reduce(&[9], &[1]).is_err());
        assert!(reduce(&[10], &[11]).is_err());
    }

    #[test]
    fn short_signatures_are_filled_up_and_long_ones_refused() {
        let mut room = [0; MAX_MODULUS_LEN];
        assert_eq!(full_length(&[7, 8], 4, &mut room).unwrap(), [0, 0, 7, 8]);
        let mut room = [0; MAX_MODULUS_LEN];
        assert_eq!(full_length(&[1, 2], 2, &mut room).unwrap(), [1, 2]);
        assert_eq!(full_length(&[1, 2, 3], 2, &mut room), Err(Unauthentic));
    }
}
