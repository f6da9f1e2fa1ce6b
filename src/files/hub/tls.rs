//! Encryption in Rust alone: no C compiler, no system library.
//!
//! The certificates that the machine trusts are trusted here, too. The arithmetic is graviola's, which exists for two
//! architectures and needs instructions that their processors have had for ten years; elsewhere only addresses with `http:`
//! can be asked.

use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsConfigBuilder, TlsProvider};

/// What is needed for addresses with `https:`.
///
/// # Errors
/// Why they cannot be asked.
pub(super) fn config() -> Result<TlsConfig, &'static str> {
    let builder = TlsConfig::builder().provider(TlsProvider::Rustls);
    let builder = with_arithmetic(builder).ok_or("this build cannot encrypt on this processor")?;
    let found = rustls_native_certs::load_native_certs().certs;
    let roots = found
        .iter()
        .map(|der| Certificate::from_der(der).to_owned());
    let roots: Vec<_> = roots.collect();
    if roots.is_empty() {
        return Err("this machine has no root certificates (ca-certificates, or SSL_CERT_FILE)");
    }
    Ok(builder.root_certs(RootCerts::from(roots)).build())
}

/// With the arithmetic, if the processor has its instructions.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn with_arithmetic(builder: TlsConfigBuilder) -> Option<TlsConfigBuilder> {
    let provider = able().then(rustls_graviola::default_provider);
    provider.map(|provider| builder.unversioned_rustls_crypto_provider(provider.into()))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn with_arithmetic(_: TlsConfigBuilder) -> Option<TlsConfigBuilder> {
    None
}

#[cfg(target_arch = "x86_64")]
fn able() -> bool {
    use std::arch::is_x86_feature_detected as has;
    let vectors = has!("ssse3") && has!("avx") && has!("avx2");
    let integers = has!("adx") && has!("bmi1") && has!("bmi2");
    vectors && integers && has!("aes") && has!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn able() -> bool {
    use std::arch::is_aarch64_feature_detected as has;
    has!("neon") && has!("aes") && has!("pmull") && has!("sha2")
}
