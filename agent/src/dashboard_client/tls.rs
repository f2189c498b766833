//! TLS towards the dashboard: 1.2 or later, Mozilla's roots and those of the settings, and the pinned public key where
//! there is one. It is asked for beside the chain and the name, and not instead of them.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        VerifierBuilderError, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::settings::PublicKeyPin;

/// Why there is no TLS with these settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A certificate of `ca_file` is none of an authority's.
    #[error("a certificate of ca_file cannot be trusted; take it out of the file")]
    Authority(#[source] Error),
    /// Nothing is there to verify with.
    #[error("cannot set up the verification of certificates; check ca_file")]
    Verifier(#[source] VerifierBuilderError),
    /// The library has no protocol to offer.
    #[error("cannot set up TLS")]
    Protocol(#[source] Error),
}

/// The public key is not one of those that are pinned.
#[derive(Debug, thiserror::Error)]
#[error(
    "the public key of {server} is {found} and not one of the pinned; if you have changed the dashboard's key, add this one to pinned_public_key"
)]
struct NotPinned {
    server: String,
    found: PublicKeyPin,
}

/// What TLS the dashboard is spoken to with.
pub(super) fn config(
    authorities: &[CertificateDer<'static>],
    pins: &[PublicKeyPin],
) -> Result<ClientConfig, TlsError> {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    for certificate in authorities {
        roots.add(certificate.clone()).map_err(TlsError::Authority)?;
    }
    let provider = Arc::new(ring::default_provider());
    let chain = WebPkiServerVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::<CryptoProvider>::clone(&provider),
    )
    .build()
    .map_err(TlsError::Verifier)?;
    let verifier: Arc<dyn ServerCertVerifier> =
        if pins.is_empty() { chain } else { Arc::new(PinVerifier { chain, pins: pins.to_vec() }) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Protocol)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Verifies as usual, and then the public key.
#[derive(Debug)]
struct PinVerifier {
    chain: Arc<WebPkiServerVerifier>,
    pins: Vec<PublicKeyPin>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.chain.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        let certificate = webpki::EndEntityCert::try_from(end_entity)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let found = PublicKeyPin::of(&certificate.subject_public_key_info());
        if self.pins.contains(&found) {
            return Ok(verified);
        }
        let server = server_name.to_str().into_owned();
        Err(Error::Other(OtherError(Arc::new(NotPinned { server, found }))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
