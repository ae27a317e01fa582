//! The algorithms that this transport speaks, by their names on the wire.

/// Declares an enum of algorithms with their names.
macro_rules! algorithms {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type {
            $(#[doc = concat!("`", $name, "`")] $(#[$variant_doc])* $variant,)+
        }

        impl $type {
            /// All of them, in this crate's order of preference.
            pub const ALL: &'static [$type] = &[$($type::$variant),+];

            /// The name in a KEXINIT.
            pub const fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)+
                }
            }

            /// The algorithm of that name.
            pub fn from_name(name: &str) -> Option<$type> {
                match name {
                    $($name => Some($type::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

algorithms! {
    /// Key exchange methods.
    KexAlgorithm {
        MlKem768X25519 = "mlkem768x25519-sha256",
        Curve25519 = "curve25519-sha256",
        /// The same method under its older name.
        Curve25519LibSsh = "curve25519-sha256@libssh.org",
        EcdhP256 = "ecdh-sha2-nistp256",
        EcdhP384 = "ecdh-sha2-nistp384",
        EcdhP521 = "ecdh-sha2-nistp521",
        /// Last, because making a key for it costs more than all of the others together.
        Sntrup761X25519 = "sntrup761x25519-sha512",
        /// The same method under its older name.
        Sntrup761X25519OpenSsh = "sntrup761x25519-sha512@openssh.com",
    }
}

algorithms! {
    /// Host key algorithms: what kind of key or certificate the server shows, and how it signs.
    HostKeyAlgorithm {
        Ed25519Cert = "ssh-ed25519-cert-v01@openssh.com",
        EcdsaP256Cert = "ecdsa-sha2-nistp256-cert-v01@openssh.com",
        EcdsaP384Cert = "ecdsa-sha2-nistp384-cert-v01@openssh.com",
        EcdsaP521Cert = "ecdsa-sha2-nistp521-cert-v01@openssh.com",
        RsaSha512Cert = "rsa-sha2-512-cert-v01@openssh.com",
        RsaSha256Cert = "rsa-sha2-256-cert-v01@openssh.com",
        Ed25519 = "ssh-ed25519",
        EcdsaP256 = "ecdsa-sha2-nistp256",
        EcdsaP384 = "ecdsa-sha2-nistp384",
        EcdsaP521 = "ecdsa-sha2-nistp521",
        RsaSha512 = "rsa-sha2-512",
        RsaSha256 = "rsa-sha2-256",
    }
}

algorithms! {
    /// Ciphers.
    CipherAlgorithm {
        Aes128Gcm = "aes128-gcm@openssh.com",
        Aes256Gcm = "aes256-gcm@openssh.com",
        ChaCha20Poly1305 = "chacha20-poly1305@openssh.com",
        Aes128Ctr = "aes128-ctr",
        Aes192Ctr = "aes192-ctr",
        Aes256Ctr = "aes256-ctr",
    }
}

algorithms! {
    /// Message authentication codes, for the ciphers that do not authenticate by themselves.
    MacAlgorithm {
        HmacSha256Etm = "hmac-sha2-256-etm@openssh.com",
        HmacSha512Etm = "hmac-sha2-512-etm@openssh.com",
        HmacSha256 = "hmac-sha2-256",
        HmacSha512 = "hmac-sha2-512",
    }
}

impl HostKeyAlgorithm {
    /// Whether the server shows a certificate rather than a bare key.
    pub const fn is_certificate(self) -> bool {
        !matches!(
            self,
            Self::Ed25519
                | Self::EcdsaP256
                | Self::EcdsaP384
                | Self::EcdsaP521
                | Self::RsaSha512
                | Self::RsaSha256
        )
    }

    /// The algorithm named in the signature.
    ///
    /// RFC 8332 §3 keeps it apart from the type of the key; a certificate's key signs under its plain name.
    pub const fn signature_name(self) -> &'static str {
        match self {
            Self::Ed25519 | Self::Ed25519Cert => Self::Ed25519.name(),
            Self::EcdsaP256 | Self::EcdsaP256Cert => Self::EcdsaP256.name(),
            Self::EcdsaP384 | Self::EcdsaP384Cert => Self::EcdsaP384.name(),
            Self::EcdsaP521 | Self::EcdsaP521Cert => Self::EcdsaP521.name(),
            Self::RsaSha512 | Self::RsaSha512Cert => Self::RsaSha512.name(),
            Self::RsaSha256 | Self::RsaSha256Cert => Self::RsaSha256.name(),
        }
    }

    /// The type at the head of the key's or the certificate's blob.
    pub const fn key_type(self) -> &'static str {
        match self {
            // RFC 8332 §3: "the public key format identifier stays ssh-rsa".
            Self::RsaSha512 | Self::RsaSha256 => "ssh-rsa",
            Self::RsaSha512Cert | Self::RsaSha256Cert => "ssh-rsa-cert-v01@openssh.com",
            plain_or_certificate => plain_or_certificate.name(),
        }
    }
}

impl CipherAlgorithm {
    /// Whether it is AES-GCM.
    pub const fn is_gcm(self) -> bool {
        matches!(self, Self::Aes128Gcm | Self::Aes256Gcm)
    }

    /// Whether it authenticates by itself, so that no MAC is negotiated for it.
    pub const fn is_aead(self) -> bool {
        self.is_gcm() || matches!(self, Self::ChaCha20Poly1305)
    }

    /// Bytes of key.
    pub(crate) const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes128Ctr => 16,
            Self::Aes192Ctr => 24,
            Self::Aes256Gcm | Self::Aes256Ctr => 32,
            Self::ChaCha20Poly1305 => 64,
        }
    }

    /// Bytes of initial vector.
    pub(crate) const fn iv_len(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => 12,
            Self::Aes128Ctr | Self::Aes192Ctr | Self::Aes256Ctr => 16,
            Self::ChaCha20Poly1305 => 0,
        }
    }
}

impl MacAlgorithm {
    /// Whether the MAC covers the ciphertext and the length stays readable.
    pub const fn is_etm(self) -> bool {
        matches!(self, Self::HmacSha256Etm | Self::HmacSha512Etm)
    }

    /// Bytes of key and of tag, which for these are the same.
    pub(crate) const fn tag_len(self) -> usize {
        match self {
            Self::HmacSha256Etm | Self::HmacSha256 => 32,
            Self::HmacSha512Etm | Self::HmacSha512 => 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        assert!(
            KexAlgorithm::ALL
                .iter()
                .all(|&a| KexAlgorithm::from_name(a.name()) == Some(a))
        );
        assert!(
            HostKeyAlgorithm::ALL
                .iter()
                .all(|&a| HostKeyAlgorithm::from_name(a.name()) == Some(a))
        );
        assert!(
            CipherAlgorithm::ALL
                .iter()
                .all(|&a| CipherAlgorithm::from_name(a.name()) == Some(a))
        );
        assert!(
            MacAlgorithm::ALL
                .iter()
                .all(|&a| MacAlgorithm::from_name(a.name()) == Some(a))
        );
        assert_eq!(CipherAlgorithm::from_name("none"), None);
    }

    #[test]
    fn certificates_sign_under_the_plain_name() {
        for &algorithm in HostKeyAlgorithm::ALL {
            assert_eq!(
                algorithm.is_certificate(),
                algorithm.name().ends_with("-cert-v01@openssh.com")
            );
            let plain = algorithm.name().trim_end_matches("-cert-v01@openssh.com");
            assert_eq!(algorithm.signature_name(), plain);
        }
    }
}
