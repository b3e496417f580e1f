//! Addresses and hashes in the format of their chain.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::chain::AddressFormat;

const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Replaces the content of `out` with a new address.
pub(super) fn address(family: AddressFormat, rng: &mut ChaCha8Rng, out: &mut String) {
    out.clear();
    match family {
        AddressFormat::Evm => hex::<20>(rng, out),
        // Of 44 digits, those with these first ones encode exactly 32 bytes.
        AddressFormat::Solana => base58::<44>(rng, b"23456789ABCDEFG", out),
    }
}

/// Replaces the content of `out` with a new transaction hash or signature.
pub(super) fn transaction_id(family: AddressFormat, rng: &mut ChaCha8Rng, out: &mut String) {
    out.clear();
    match family {
        AddressFormat::Evm => hex::<32>(rng, out),
        // Of 88 digits, those with these first ones encode exactly 64 bytes.
        AddressFormat::Solana => base58::<88>(rng, b"2345", out),
    }
}

fn hex<const BYTES: usize>(rng: &mut ChaCha8Rng, out: &mut String) {
    let mut bytes = [0; BYTES];
    rng.fill_bytes(&mut bytes);
    out.push_str("0x");
    for byte in bytes {
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

fn base58<const DIGITS: usize>(rng: &mut ChaCha8Rng, first: &[u8], out: &mut String) {
    let mut bytes = [0; DIGITS];
    rng.fill_bytes(&mut bytes);
    for (position, byte) in bytes.into_iter().enumerate() {
        let digits = if position == 0 { first } else { BASE58 };
        // Scaling a byte is not quite uniform, which an address does not show.
        out.push(char::from(digits[(usize::from(byte) * digits.len()) >> 8]));
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn addresses_and_hashes_have_the_shape_of_their_chain() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut text = String::new();
        for _ in 0..100 {
            address(AddressFormat::Evm, &mut rng, &mut text);
            assert_eq!((text.len(), &text[..2]), (42, "0x"));
            transaction_id(AddressFormat::Evm, &mut rng, &mut text);
            assert_eq!((text.len(), &text[..2]), (66, "0x"));
            address(AddressFormat::Solana, &mut rng, &mut text);
            assert_eq!(text.len(), 44);
            transaction_id(AddressFormat::Solana, &mut rng, &mut text);
            assert_eq!(text.len(), 88);
            assert!(text.bytes().all(|byte| BASE58.contains(&byte)));
        }
    }
}
