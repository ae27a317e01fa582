//! Checking the certificate that a user shows, and making the one that a target is shown.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use weir_crypto::random::PooledRandom;
use weir_ssh::certificate::{Certificate, CertificateRequest, CertificateType};
use weir_ssh::key::SigningKey;

const NOW: u64 = 1_800_000_000;
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn request(user: &SigningKey) -> CertificateRequest {
    let validity = NOW - 60..NOW + 60;
    let request = CertificateRequest::new(
        CertificateType::User,
        user.public_key().clone(),
        "alice session",
        validity,
    );
    request.serial(7).principal("root").extension("permit-pty")
}

fn certificates(c: &mut Criterion) {
    let (user, authority) = (SigningKey::generate_ed25519(), SigningKey::generate_ed25519());
    let mut random = PooledRandom::default();
    let certificate = request(&user).sign(&authority, &mut random);
    let mut group = c.benchmark_group("certificate, ed25519");
    group.bench_function("parse and check", |b| {
        b.iter(|| {
            let certificate = Certificate::parse(black_box(certificate.blob())).expect("it is well-formed");
            certificate.check_user("root", NOW, CLIENT, |key| key == authority.public_key().blob())
        });
    });
    group.bench_function("issue", |b| {
        b.iter(|| request(&user).sign(&authority, &mut random))
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = certificates
}
criterion_main!(benches);
