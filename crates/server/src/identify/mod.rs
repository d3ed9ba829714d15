//! Who a client is, where that takes longer than a turn of a shard: passwords and custom
//! authorizers.
//!
//! A connection whose CONNECT brings a user name leaves its shard, is looked at here, and comes to
//! the owner of its client id with its [`Proof`]. Contract `mqtt-broker.md` §1.2 and §1.3.

mod authorizer;
mod password;
mod share;
mod token;
mod webhook;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bitts_aws::events::certificate_registered;
use bitts_aws::registry::Identity;
use bitts_broker::command::Command;
use bitts_broker::{ConnId, NewMessage, Proof, ShardId};
use bitts_mqtt::{Connect, QoS};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Semaphore, mpsc};
use zeroize::Zeroizing;

pub(crate) use self::authorizer::{Asked, Authorizers};
use self::password::{Failures, Passwords};
use self::share::Shares;
pub(crate) use self::token::TokenParts;
use crate::clock::Clock;
use crate::conn::Conn;
use crate::mesh::{Mail, Mesh};
use crate::metrics::{Counters, Refusal};
use crate::registry::{DONE, Directory, Entry, is_signed_by, read_certificate};
use crate::tls::certificate_id;

/// Connections that are looked at here at once, half of them of one address; the others wait in the
/// order in which they came.
const AT_ONCE: usize = 256;
/// Connections that wait to be looked at, half of them of one address; one more is closed.
const PENDING_MAX: usize = 4_096;
/// Clients that authorizers are asked about again at once; the others wait.
const AGAIN_AT_ONCE: usize = 64;
/// How long an answer waits whose address failed too often.
const PENALTY: Duration = Duration::from_secs(1);
/// Answers that wait so at once; at the limit one more is given without delay.
const PENALTIES_AT_ONCE: usize = 4_096;

/// A connection that is on its way to its owner.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) conn: Box<Conn>,
    pub(crate) credentials: Credentials,
    pub(crate) owner: ShardId,
}

/// What a CONNECT says of who sends it.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) username: String,
    pub(crate) password: Option<Zeroizing<Vec<u8>>>,
    /// A certificate that is new, and that its authority may register.
    certificate: Option<CertificateDer<'static>>,
}

impl Credentials {
    /// Those of a CONNECT; none where its user name is only what AWS's device SDKs tell of
    /// themselves (§1.3).
    pub(crate) fn of(connect: &Connect<'_>) -> Option<Self> {
        let username = connect.username.unwrap_or_default();
        let parts = TokenParts::of_username(username);
        if parts.user.is_empty() && parts.is_empty() && connect.password.is_none() {
            return None;
        }
        Some(Self {
            client_id: connect.client_id.to_owned(),
            username: username.to_owned(),
            password: connect.password.map(|password| Zeroizing::new(password.to_vec())),
            certificate: None,
        })
    }

    /// Those of a client with a certificate that nobody knows yet.
    pub(crate) fn of_certificate(connect: &Connect<'_>, der: CertificateDer<'static>) -> Self {
        Self {
            client_id: connect.client_id.to_owned(),
            username: String::new(),
            password: None,
            certificate: Some(der),
        }
    }
}

/// Who a client is, and what was asked where an authorizer said so and is to be asked again.
#[derive(Debug, Default)]
pub(crate) struct Identified {
    pub(crate) proof: Proof,
    pub(crate) asked: Option<Asked>,
}

impl Identified {
    pub(crate) fn new(proof: Proof, asked: Option<Asked>) -> Self {
        let is_refreshed = matches!(
            &proof,
            Proof::Identity(Identity::Authorizer(said)) if said.refresh_at_unix_ms.is_some()
        );
        Self { proof, asked: asked.filter(|_| is_refreshed) }
    }
}

/// A client that is connected and to be asked about again.
#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) conn: ConnId,
    pub(crate) owner: ShardId,
    pub(crate) identified: Box<Identified>,
}

/// Where shards send whom they cannot tell.
#[derive(Clone, Debug)]
pub(crate) struct Inquiries {
    pub(crate) pending: mpsc::Sender<Pending>,
    /// At most one for each connection.
    pub(crate) again: mpsc::UnboundedSender<Again>,
}

/// Where they arrive.
#[derive(Debug)]
pub(crate) struct Inquired {
    pending: mpsc::Receiver<Pending>,
    again: mpsc::UnboundedReceiver<Again>,
}

pub(crate) fn inquiries() -> (Inquiries, Inquired) {
    let (pending, pending_received) = mpsc::channel(PENDING_MAX);
    let (again, again_received) = mpsc::unbounded_channel();
    let inquired = Inquired { pending: pending_received, again: again_received };
    (Inquiries { pending, again }, inquired)
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Identifier {
    directory: Arc<Directory>,
    clock: Clock,
    counters: Arc<Counters>,
    passwords: Passwords,
    failures: Failures,
    penalties: Semaphore,
    pub(crate) authorizers: Authorizers,
    /// Places of HTTP requests that wait for an authorizer.
    pub(crate) requests: Shares,
}

impl Identifier {
    pub(crate) fn new(directory: Arc<Directory>, clock: Clock, counters: Arc<Counters>) -> Self {
        Self {
            directory,
            clock,
            counters,
            passwords: Passwords::default(),
            failures: Failures::default(),
            penalties: Semaphore::new(PENALTIES_AT_ONCE),
            authorizers: Authorizers::default(),
            requests: Shares::new(AT_ONCE),
        }
    }

    /// Looks at connections until the server stops.
    pub(crate) async fn run(self: Arc<Self>, inquired: Inquired, mesh: Mesh) {
        let Inquired { pending, again } = inquired;
        tokio::join!(
            Arc::clone(&self).look_at_new(pending, mesh.clone()),
            self.look_again(again, mesh)
        );
    }

    /// Asks again about clients that are connected.
    async fn look_again(self: Arc<Self>, mut inquired: mpsc::UnboundedReceiver<Again>, mesh: Mesh) {
        let room = Arc::new(Semaphore::new(AGAIN_AT_ONCE));
        while let Some(mut again) = inquired.recv().await {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let (this, mesh) = (Arc::clone(&self), mesh.clone());
            tokio::spawn(async move {
                let registry = this.directory.current();
                let unix_ms = this.clock.now().unix_ms;
                let said = match &again.identified.asked {
                    Some(asked) => this.authorizers.ask(&registry, asked, unix_ms).await,
                    None => None,
                };
                drop(permit);
                again.identified.proof = said.map_or(Proof::Failed, Proof::Identity);
                if let Some(inbox) = mesh.inbox(again.owner) {
                    inbox.send(&mut vec![Mail::Refreshed(again)]);
                }
            });
        }
    }

    async fn look_at_new(self: Arc<Self>, mut pending: mpsc::Receiver<Pending>, mesh: Mesh) {
        let (waiting, room) = (Shares::new(PENDING_MAX), Arc::new(Shares::new(AT_ONCE)));
        while let Some(Pending { mut conn, credentials, owner }) = pending.recv().await {
            let address = conn.source.ip();
            let Some(waits) = waiting.try_enter(address) else {
                self.counters.refuse(Refusal::TooManyGreetings);
                continue;
            };
            let (this, mesh, room) = (Arc::clone(&self), mesh.clone(), Arc::clone(&room));
            tokio::spawn(async move {
                let Some(place) = room.enter(address).await else { return };
                drop(waits);
                let is_secure = conn.layers.as_ref().is_some_and(|layers| layers.is_secure());
                let identified = match &credentials.certificate {
                    Some(der) => Identified::new(this.register(der, address, &mesh).await, None),
                    None => this.identify(&credentials, address, is_secure).await,
                };
                // Whoever guesses waits; whoever comes behind it does not.
                drop(place);
                if matches!(identified.proof, Proof::Failed) {
                    this.penalise(address).await;
                }
                conn.identified = Some(Box::new(identified));
                if let Some(inbox) = mesh.inbox(owner) {
                    inbox.send(&mut vec![Mail::Conn(conn)]);
                }
            });
        }
    }

    /// Registers a certificate whose authority does so at the first connection, and tells whoever
    /// decides about it. This connection is refused; the client comes back
    /// (`control-plane-and-jobs.md` §3).
    async fn register(&self, der: &CertificateDer<'static>, address: IpAddr, mesh: &Mesh) -> Proof {
        let proof = Proof::Identity(Identity::Certificate(certificate_id(der)));
        let pem = pem_of(der);
        let unix_ms = self.clock.now().unix_ms;
        let registry = self.directory.current();
        let is_signed = |authority: &str| is_signed_by(&pem, authority).unwrap_or(false);
        let Some(ca_id) = registry.registering_authority(is_signed).map(str::to_owned) else {
            return proof;
        };
        let Ok(mut certificate) = read_certificate(&pem) else { return proof };
        certificate.ca_id = Some(ca_id.clone());
        let id = certificate.id.clone();
        let registered = self.directory.change(move |registry| {
            let (registry, rows) = registry.register_automatically(certificate, unix_ms)?;
            Ok((registry, (), rows))
        });
        if registered.await.is_ok() {
            let with = [("certificateId", id.clone()), ("caCertificateId", ca_id.clone())];
            let entry = Entry {
                timestamp: unix_ms,
                request_id: "",
                principal: &format!("cert/{id}"),
                source_ip: &address.to_canonical().to_string(),
                action: "iot:RegisterCertificate",
                with: &BTreeMap::from(with),
                outcome: DONE,
            };
            self.directory.audit().write(&entry, true).await;
            let (topic, payload) =
                certificate_registered(&id, &ca_id, &registry.account(), unix_ms);
            let owner = mesh.placement.owner_of(&topic);
            let message = NewMessage {
                topic,
                payload: payload.into(),
                qos: QoS::One,
                retain: false,
                properties: Vec::new(),
                message_expiry_interval: None,
            };
            // Without shards the server stops, and there is nobody to tell.
            mesh.call(owner, Command::PublishSystem(message)).await;
        }
        proof
    }

    async fn identify(
        &self,
        credentials: &Credentials,
        address: IpAddr,
        is_secure: bool,
    ) -> Identified {
        let registry = self.directory.current();
        let now = self.clock.now();
        let parts = TokenParts::of_username(&credentials.username);
        let is_user = parts.name.is_none() && registry.user(parts.user).is_some();
        let authorizer = parts.name.or_else(|| registry.default_authorizer());
        let (found, asked) = if let Some(name) = authorizer.filter(|_| !is_user) {
            let asked = Asked::connect(name, credentials, is_secure);
            (self.authorizers.ask(&registry, &asked, now.unix_ms).await, Some(asked))
        } else {
            let password = credentials.password.as_ref().map(|password| password.as_slice());
            let user = registry.user(parts.user);
            let is_right = self.passwords.check(user, password.unwrap_or_default(), address).await;
            (is_right.then(|| Identity::User(parts.user.into())), None)
        };
        Identified::new(found.map_or(Proof::Failed, Proof::Identity), asked)
    }

    /// Waits, if an address failed too often.
    async fn penalise(&self, address: IpAddr) {
        if self.failures.count(address, self.clock.now().moment)
            && let Ok(_waiting) = self.penalties.try_acquire()
        {
            tokio::time::sleep(PENALTY).await;
        }
    }
}

/// A certificate as PEM.
fn pem_of(der: &CertificateDer<'_>) -> String {
    let text = data_encoding::BASE64.encode(der);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .filter_map(|start| text.get(start..text.len().min(start + 64)))
        .collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
