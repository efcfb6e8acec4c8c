//! SipHash-2-4 (Aumasson and Bernstein, 2012), over short messages. The standard library's hasher may become another one
//! with any release, and nodes of two releases must agree.

/// The hash of `message` under the key `(k0, k1)`.
pub fn siphash24((k0, k1): (u64, u64), message: &[u8]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let mut absorb = |word: u64| {
        v[3] ^= word;
        rounds(&mut v, 2);
        v[0] ^= word;
    };
    let mut words = message.chunks_exact(8);
    for word in &mut words {
        absorb(word.iter().rev().fold(0, |w, byte| w << 8 | u64::from(*byte)));
    }
    let length = u64::from(message.len().to_le_bytes()[0]) << 56;
    absorb(length | words.remainder().iter().rev().fold(0, |w, byte| w << 8 | u64::from(*byte)));
    v[2] ^= 0xff;
    rounds(&mut v, 4);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn rounds(v: &mut [u64; 4], count: usize) {
    for _ in 0..count {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
}

#[test]
fn vectors_of_the_paper() {
    let key = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
    let message: Vec<u8> = (0..15).collect();
    assert_eq!(siphash24(key, &message), 0xa129_ca61_49be_45e5);
    assert_eq!(siphash24(key, &[]), 0x726f_db47_dd0e_0e31);
}
