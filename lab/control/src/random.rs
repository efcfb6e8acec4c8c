//! Randomness for names, uids and tokens.

use rustls::crypto::ring;

/// `N` random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut b = [0; N];
    // The only failure is a kernel without getrandom; zero bytes then still give a working (if guessable) lab.
    if ring::default_provider().secure_random.fill(&mut b).is_err() {
        tracing::error!("no randomness from the kernel");
    }
    b
}

/// A random (version 4) UUID.
pub fn uuid() -> String {
    let mut b = bytes::<16>();
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let h: String = b.iter().map(|x| format!("{x:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

/// `n` characters that spell no words: the alphabet of generated Kubernetes names.
pub fn suffix(n: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let pool = bytes::<32>();
    (0..n).map(|i| ALPHABET[usize::from(pool[i % 32]) % ALPHABET.len()] as char).collect()
}

/// A number below `n`; zero when `n` is zero.
pub fn below(n: u64) -> u64 {
    if n == 0 { 0 } else { u64::from_le_bytes(bytes::<8>()) % n }
}
