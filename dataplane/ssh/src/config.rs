//! What a transport offers and what it tolerates.

use std::time::Duration;

use crate::algorithm::{CipherAlgorithm, HostKeyAlgorithm, KexAlgorithm, MacAlgorithm};
use crate::key::SignatureAlgorithm;

/// Configuration of one kind of hop; shared by all hops of that kind.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Key exchange methods, best first.
    pub kex: Vec<KexAlgorithm>,
    /// Host key algorithms, best first. A server offers those among them that it has keys for.
    pub host_key_algs: Vec<HostKeyAlgorithm>,
    /// Ciphers, best first.
    pub ciphers: Vec<CipherAlgorithm>,
    /// Message authentication codes, best first.
    pub macs: Vec<MacAlgorithm>,
    /// The identification without its line end (RFC 4253 §4.2).
    pub ident: String,
    /// Signature algorithms that this side takes for user authentication: the content of the
    /// extension `server-sig-algs` (RFC 8308 §3.1). A server's matter.
    pub server_sig_algs: Vec<SignatureAlgorithm>,
    /// Prefer AES-GCM over the orders of both sides: as a server, offer nothing else to a client
    /// that has it; as a client, put it first.
    pub prefer_gcm: bool,
    /// What the peer may ask of this side's memory and patience.
    pub limits: Limits,
    /// When this side wants new keys.
    pub rekey: RekeyLimits,
}

/// Bounds that are checked before anything is allocated.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest packet, without its length field and its authentication code, in bytes.
    pub packet_bytes: u32,
    /// Lines that a server may send before its identification (RFC 4253 §4.2). A client may send none.
    pub greeting_lines: u32,
    /// Bytes that the peer may send before it is authenticated.
    pub unauthenticated_bytes: u64,
    /// Packets that the peer may send before it is authenticated.
    pub unauthenticated_packets: u64,
    /// Time that passes until the peer must be authenticated.
    pub unauthenticated_time: Duration,
    /// How long a server holds its own KEXINIT back for the client's.
    pub steering_wait: Duration,
    /// How long an authenticated peer may take from its KEXINIT to its NEWKEYS: meanwhile nothing can be sealed for it, and
    /// what waits for that does not move. One that has not answered our KEXINIT is not hurried: it may be stopped.
    pub exchange_time: Duration,
}

/// When this side wants new keys (RFC 4253 §9).
#[derive(Clone, Debug)]
pub struct RekeyLimits {
    /// Bytes in either direction.
    pub bytes: u64,
    /// Time since the last key exchange.
    pub interval: Duration,
}

impl TransportConfig {
    /// The default for the side that clients connect to.
    pub fn server() -> TransportConfig {
        TransportConfig {
            kex: KexAlgorithm::ALL.to_vec(),
            host_key_algs: HostKeyAlgorithm::ALL.to_vec(),
            ciphers: CipherAlgorithm::ALL.to_vec(),
            macs: MacAlgorithm::ALL.to_vec(),
            ident: ident(),
            server_sig_algs: SignatureAlgorithm::ALL.to_vec(),
            prefer_gcm: cpu_has_aes(),
            limits: Limits::default(),
            rekey: RekeyLimits::default(),
        }
    }

    /// The default for the side that connects to servers.
    pub fn client() -> TransportConfig {
        TransportConfig {
            server_sig_algs: Vec::new(),
            ..TransportConfig::server()
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // OpenSSH refuses larger ones, too (PACKET_MAX_SIZE).
            packet_bytes: 256 * 1024,
            // A legal notice of one screen; OpenSSH tolerates 1024.
            greeting_lines: 64,
            // Six attempts with certificates of RSA-8192 keys stay below half of it.
            unauthenticated_bytes: 256 * 1024,
            // A key exchange takes 4, an attempt with a key 2, an agent may hold dozens of keys.
            unauthenticated_packets: 256,
            // The default of LoginGraceTime in sshd.
            unauthenticated_time: Duration::from_secs(120),
            // Long enough for a client across the world that waits for nothing, short enough not to
            // be noticed with one that waits for our KEXINIT.
            steering_wait: Duration::from_millis(200),
            // A round trip and two signatures; what a peer had sent before is already here.
            exchange_time: Duration::from_secs(120),
        }
    }
}

impl Default for RekeyLimits {
    fn default() -> RekeyLimits {
        // RFC 4253 §9: "It is RECOMMENDED that the keys be changed after each gigabyte of transmitted
        // data or after each hour of connection time, whichever comes sooner."
        RekeyLimits {
            bytes: 1 << 30,
            interval: Duration::from_secs(3600),
        }
    }
}

/// OpenSSH peers turn `eow@openssh.com` and `no-more-sessions@openssh.com` on by the software's name;
/// without them `yes | head` never ends.
fn ident() -> String {
    format!("SSH-2.0-OpenSSH_9.9 Weir_{}", env!("CARGO_PKG_VERSION"))
}

/// Whether this processor computes AES in hardware; without that ChaCha20 is the faster cipher.
pub fn cpu_has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}
