//! The certificate authority of one control plane, made at start and gone with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The authority and the TLS identity of the server it signed.
pub struct Authority {
    /// PEM of the authority's certificate.
    pub ca_pem: String,
    /// What a TLS listener of the server needs.
    pub tls: Arc<ServerConfig>,
}

/// Making the certificates failed.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The certificate library refused.
    #[error("making the certificates of the API server: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refused.
    #[error("setting up TLS for the API server: {0}")]
    Tls(#[from] rustls::Error),
}

// === impl Authority ===

impl Authority {
    /// Makes a fresh authority and a server certificate good for `addresses` and the usual names.
    pub fn new(cluster: &str, domain: &str, addresses: &[IpAddr]) -> Result<Self, PkiError> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, format!("{cluster}-ca"));
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let ca_cert = ca.self_signed(&ca_key)?;
        let issuer = Issuer::new(ca, ca_key);

        let mut names = vec!["localhost".to_owned(), "kubernetes".into(), "kubernetes.default".into()];
        names.push("kubernetes.default.svc".into());
        names.push(format!("kubernetes.default.svc.{domain}"));
        let key = KeyPair::generate()?;
        let mut server = CertificateParams::new(names)?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let local = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        for a in local.iter().chain(addresses) {
            server.subject_alt_names.push(SanType::IpAddress(*a));
        }
        let cert = server.signed_by(&key, &issuer)?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![cert.der().clone(), ca_cert.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { ca_pem: ca_cert.pem(), tls: Arc::new(tls) })
    }
}
