//! What one packet and one key exchange cost in cryptography alone.
//!
//! `seal_to` beside `copy then seal` shows whether sealing out of place is the cheaper way into a transmit buffer.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir_crypto::aes_ctr::AesCtr;
use weir_crypto::aes_gcm::{AesGcm, TAG_LEN};
use weir_crypto::agreement::{Curve, EphemeralKey, mlkem768, sntrup761};
use weir_crypto::chachapoly::ChaChaPoly;
use weir_crypto::hmac::{HmacAlgorithm, HmacKey};
use weir_crypto::random::{PooledRandom, Random, SystemRandom};
use weir_crypto::sign::{self, PrivateKey, SignatureScheme};

/// A keystroke, a small write, and the two sizes that OpenSSH fills its packets to.
const SIZES: [usize; 4] = [64, 1024, 16 * 1024, 32 * 1024];
const NONCE: [u8; 12] = [3; 12];

fn aes_gcm(c: &mut Criterion) {
    for key_len in [16, 32] {
        let cipher = AesGcm::new(&vec![7; key_len]);
        let mut group = c.benchmark_group(format!("aes{}-gcm", key_len * 8));
        for size in SIZES {
            let plain = vec![1; size];
            let mut out = vec![0; size + TAG_LEN];
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new("seal in place", size), |b| {
                let mut data = plain.clone();
                b.iter(|| cipher.seal_in_place(&NONCE, b"aad.", black_box(&mut data)));
            });
            group.bench_function(BenchmarkId::new("seal_to", size), |b| {
                b.iter(|| cipher.seal_to(&NONCE, b"aad.", black_box(&plain), black_box(&mut out)));
            });
            group.bench_function(BenchmarkId::new("copy then seal", size), |b| {
                b.iter(|| {
                    let (data, tag) = out.split_at_mut(size);
                    data.copy_from_slice(black_box(&plain));
                    tag.copy_from_slice(&cipher.seal_in_place(&NONCE, b"aad.", data));
                });
            });
            cipher.seal_to(&NONCE, b"aad.", &plain, &mut out);
            let sealed = out.clone();
            group.bench_function(BenchmarkId::new("copy then open", size), |b| {
                b.iter(|| {
                    out.copy_from_slice(&sealed);
                    cipher
                        .open_in_place(&NONCE, b"aad.", black_box(&mut out))
                        .map(|plain| plain.len())
                });
            });
        }
        group.finish();
    }
}

fn chachapoly(c: &mut Criterion) {
    let cipher = ChaChaPoly::new(&[7; 64]);
    let mut group = c.benchmark_group("chacha20-poly1305");
    for size in SIZES {
        let mut frame = vec![1; 4 + size + 16];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("seal in place", size), |b| {
            b.iter(|| cipher.seal_in_place(5, black_box(&mut frame)));
        });
        cipher.seal_in_place(5, &mut frame);
        let sealed = frame.clone();
        group.bench_function(BenchmarkId::new("copy then open", size), |b| {
            b.iter(|| {
                frame.copy_from_slice(&sealed);
                cipher
                    .open_in_place(5, black_box(&mut frame))
                    .map(|body| body.len())
            });
        });
    }
    group.finish();
}

fn aes_ctr_with_hmac(c: &mut Criterion) {
    for (name, algorithm) in [
        ("hmac-sha2-256-etm", HmacAlgorithm::Sha256),
        ("hmac-sha2-512-etm", HmacAlgorithm::Sha512),
    ] {
        let mut cipher = AesCtr::new(&[7; 32], &[9; 16]);
        let mac = HmacKey::new(algorithm, &[5; 64]);
        let mut group = c.benchmark_group(format!("aes256-ctr, {name}"));
        for size in SIZES {
            let mut data = vec![1; size];
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new("seal in place", size), |b| {
                b.iter(|| {
                    cipher.apply(black_box(&mut data));
                    mac.sign(&[&[0, 0, 0, 1], &data])
                });
            });
        }
        group.finish();
    }
}

fn padding(c: &mut Criterion) {
    c.bench_function("random padding of 16 bytes", |b| {
        let mut padding = [0; 16];
        b.iter(|| SystemRandom.fill(black_box(&mut padding)));
    });
    c.bench_function("random padding of 16 bytes, pooled", |b| {
        let (mut random, mut padding) = (PooledRandom::default(), [0; 16]);
        b.iter(|| random.fill(black_box(&mut padding)));
    });
}

fn agreement(c: &mut Criterion) {
    let mut group = c.benchmark_group("agreement");
    for (name, curve) in [
        ("x25519", Curve::X25519),
        ("p256", Curve::P256),
        ("p384", Curve::P384),
        ("p521", Curve::P521),
    ] {
        let peer = EphemeralKey::generate(curve);
        group.bench_function(BenchmarkId::new("generate and agree", name), |b| {
            b.iter(|| EphemeralKey::generate(curve).agree(black_box(peer.public_key())));
        });
    }
    group.bench_function("mlkem768/generate", |b| {
        b.iter(mlkem768::DecapsulationKey::generate)
    });
    let public = mlkem768::DecapsulationKey::generate().public_key().to_vec();
    group.bench_function("mlkem768/encapsulate", |b| {
        b.iter(|| mlkem768::encapsulate(black_box(&public)))
    });
    group.bench_function("mlkem768/decapsulate", |b| {
        b.iter_batched(
            || {
                let key = mlkem768::DecapsulationKey::generate();
                let (ciphertext, _) =
                    mlkem768::encapsulate(key.public_key()).expect("a generated key is valid");
                (key, ciphertext)
            },
            |(key, ciphertext)| key.decapsulate(&ciphertext),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("sntrup761/generate", |b| {
        b.iter(sntrup761::DecapsulationKey::generate)
    });
    let public = sntrup761::DecapsulationKey::generate().public_key().to_vec();
    group.bench_function("sntrup761/encapsulate", |b| {
        b.iter(|| sntrup761::encapsulate(black_box(&public)))
    });
    group.bench_function("sntrup761/decapsulate", |b| {
        b.iter_batched(
            || {
                let key = sntrup761::DecapsulationKey::generate();
                let (ciphertext, _) =
                    sntrup761::encapsulate(key.public_key()).expect("a generated key is valid");
                (key, ciphertext)
            },
            |(key, ciphertext)| key.decapsulate(&ciphertext),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn signatures(c: &mut Criterion) {
    let mut group = c.benchmark_group("signature");
    let key = PrivateKey::ed25519_from_seed(&[7; 32]);
    let message = [1; 200];
    let signature = key
        .sign(SignatureScheme::Ed25519, &message)
        .expect("an Ed25519 key signs");
    group.bench_function("ed25519/sign", |b| {
        b.iter(|| key.sign(SignatureScheme::Ed25519, black_box(&message)))
    });
    let public = key.public_key().as_borrowed();
    group.bench_function("ed25519/verify", |b| {
        b.iter(|| sign::verify(SignatureScheme::Ed25519, &public, black_box(&message), &signature));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = aes_gcm, chachapoly, aes_ctr_with_hmac, padding, agreement, signatures
}
criterion_main!(benches);
