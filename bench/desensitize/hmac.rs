//! Rust's `hmac` and `sha2` as a peer: HMAC-SHA-256 of fields under one key, its midstates computed once, as hexadecimal
//! digits; one core. `sha2` uses SHA-NI where the processor has it.
//!
//!     hmac INPUT OUTPUT KEY
//!
//! Input and output: u32 count, then u32 length and bytes each, little-endian. Hashes everything once and writes it,
//! says "ready", then for each line "MS" on standard input hashes for that long and answers with fields a second.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::io::BufRead;
use std::time::Instant;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn read_items(data: &[u8]) -> Vec<&[u8]> {
    let word = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().unwrap()) as usize;
    let mut at = 4;
    (0..word(0))
        .map(|_| {
            let item = &data[at + 4..at + 4 + word(at)];
            at += 4 + item.len();
            item
        })
        .collect()
}

fn hash_all(keyed: &Hmac<Sha256>, items: &[&[u8]], digests: &mut [u8]) {
    for (item, out) in items.iter().zip(digests.chunks_exact_mut(64)) {
        let mut mac = keyed.clone();
        mac.update(item);
        for (byte, two) in mac.finalize().into_bytes().iter().zip(out.chunks_exact_mut(2)) {
            two[0] = DIGITS[(byte >> 4) as usize];
            two[1] = DIGITS[(byte & 15) as usize];
        }
    }
    std::hint::black_box(&digests);
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let data = std::fs::read(&arguments[1]).unwrap();
    let items = read_items(&data);
    let keyed = Hmac::<Sha256>::new_from_slice(arguments[3].as_bytes()).unwrap();
    let mut digests = vec![0u8; items.len() * 64];
    hash_all(&keyed, &items, &mut digests);
    let mut output = (items.len() as u32).to_le_bytes().to_vec();
    for digest in digests.chunks_exact(64) {
        output.extend(64u32.to_le_bytes());
        output.extend(digest);
    }
    std::fs::write(&arguments[2], output).unwrap();
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let turn_ms: f64 = line.unwrap().trim().parse().unwrap();
        let start = Instant::now();
        let mut runs = 0;
        while start.elapsed().as_secs_f64() * 1000.0 < turn_ms {
            hash_all(&keyed, &items, &mut digests);
            runs += 1;
        }
        println!("{}", (runs * items.len()) as f64 / start.elapsed().as_secs_f64());
    }
}
