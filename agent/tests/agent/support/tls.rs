//! TLS before a dashboard: an authority of the test's own, a server with a certificate of it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, thread};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData as _};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::agent::Home;

/// Who signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// The file that has it trusted.
    pub(crate) fn file(&self, home: &Home) -> PathBuf {
        home.write_private("authority.pem", &self.pem)
    }
}

/// A server that speaks TLS and hands on what it hears.
pub(crate) struct Front {
    address: SocketAddr,
    pin: String,
}

impl Front {
    /// With a certificate for this name.
    pub(crate) fn new(
        authority: &Authority,
        name: &str,
        versions: &[&'static SupportedProtocolVersion],
        to: SocketAddr,
    ) -> Self {
        let key = KeyPair::generate().unwrap();
        let pin = STANDARD.encode(Sha256::digest(key.subject_public_key_info()));
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || serve(listener, &TlsAcceptor::from(Arc::new(config)), to));
        Self { address, pin: format!("sha256//{pin}") }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The public key, as curl pins it.
    pub(crate) fn pin(&self) -> &str {
        &self.pin
    }
}

fn serve(listener: std::net::TcpListener, acceptor: &TlsAcceptor, to: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not like the certificate goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let Ok(mut behind) = TcpStream::connect(to).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
            });
        }
    });
}
