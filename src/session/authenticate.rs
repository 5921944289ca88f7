//! Proving a client's password: against what a server accepted before, else by logging in to a server.
//!
//! Source: protocol pages "Authentication Phase", "Caching SHA-2 pluggable authentication" of the manual.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::backend::connect::{Account, ConnectError};
use crate::backend::credentials::Word;
use crate::config::Secret;
use crate::session::handshake::new_salt;
use crate::session::{Closed, Session};
use crate::wire::auth::{FAST_AUTH_OK, FULL_AUTH, PLUGIN_NATIVE, PLUGIN_SHA2, REQUEST_PUBLIC_KEY};
use crate::wire::{AuthMoreData, AuthSwitch, Capabilities, ErrPacket, codes, frame_with, scramble};

/// How long a password waits until a server is asked about it, while one of the same user is known. Several turns
/// (see `Credentials`): of the clients that come with a new password at once the first asks for all.
pub(super) const MAX_TURN_WAIT: Duration = Duration::from_secs(3);

/// How often it is looked meanwhile whether it is known now.
const TURN_PAUSE: Duration = Duration::from_millis(50);

/// A proved password and its generation, or the error that the client gets.
type Proof = Result<(Secret, u64), ErrPacket>;

/// What came of asking a server.
enum Asked {
    Said(Proof),
    /// None could be asked; why.
    Nobody(String),
}

impl Session {
    /// Carries the exchange to its end; `seq` is afterwards the number of the closing OK or ERR.
    /// `auth` is the answer to the greeting's salt, none where a new salt is to be answered.
    pub(super) async fn prove(
        &mut self,
        auth: Option<Vec<u8>>,
        plugin: Option<Vec<u8>>,
        seq: &mut u8,
    ) -> Result<Proof, Closed> {
        let known_here = self.static_password();
        let plugin = plugin.unwrap_or_else(|| PLUGIN_NATIVE.into());
        if let Some(password) = known_here.as_ref().filter(|_| plugin == PLUGIN_NATIVE.as_bytes()) {
            let auth = match auth {
                Some(auth) => auth,
                None => self.ask_again(PLUGIN_NATIVE, seq).await?,
            };
            if scramble::native_verify(password.expose().as_bytes(), &self.salt, &auth) {
                return Ok(self.accept_static(password));
            }
            return Ok(Err(self.denied(!auth.is_empty())));
        }
        let auth = match auth {
            Some(auth) if plugin == PLUGIN_SHA2.as_bytes() => auth,
            _ if !self.capabilities.has(Capabilities::PLUGIN_AUTH) => {
                let words = "Client does not support authentication protocol requested by server; consider \
                             upgrading MySQL client (Weir needs caching_sha2_password, or the user in [[users]])";
                return Ok(Err(codes::AUTH_NOT_SUPPORTED.packet(words)));
            }
            _ => self.ask_again(PLUGIN_SHA2, seq).await?,
        };
        self.prove_sha2(auth, known_here, seq).await
    }

    /// Switches to the plugin with a new salt; the client's answer.
    async fn ask_again(&mut self, plugin: &str, seq: &mut u8) -> Result<Vec<u8>, Closed> {
        self.salt = new_salt()?;
        let switch = AuthSwitch { plugin: plugin.into(), data: self.salt.to_vec() };
        self.send_login(seq, |body| switch.encode(body)).await?;
        self.login_packet(seq).await
    }

    async fn prove_sha2(
        &mut self,
        auth: Vec<u8>,
        known_here: Option<Secret>,
        seq: &mut u8,
    ) -> Result<Proof, Closed> {
        if auth.is_empty() || auth == [0] {
            return Ok(self.judge(Secret::default(), known_here).await);
        }
        let credentials = &self.worker.shared.credentials;
        let known = known_here
            .clone()
            .or_else(|| credentials.get(&self.login.user).map(|known| known.password));
        if let Some(password) = known
            && scramble::sha2_verify(password.expose().as_bytes(), &self.salt, &auth)
        {
            let proof = self.judge(password, known_here).await;
            if proof.is_ok() {
                self.send_login(seq, |body| AuthMoreData(&[FAST_AUTH_OK]).encode(body)).await?;
            }
            return Ok(proof);
        }
        self.send_login(seq, |body| AuthMoreData(&[FULL_AUTH]).encode(body)).await?;
        let Some(password) = self.ask_password(seq).await? else {
            return Ok(Err(self.denied(true)));
        };
        Ok(self.judge(password, known_here).await)
    }

    /// The password itself, over TLS or encrypted with our key. `None` when it cannot be read.
    async fn ask_password(&mut self, seq: &mut u8) -> Result<Option<Secret>, Closed> {
        let mut sent = Zeroizing::new(self.login_packet(seq).await?);
        if !self.client.socket().is_tls() {
            let shared = Arc::clone(&self.worker.shared);
            let key = match shared.login_key().await {
                Ok(key) => key,
                Err(error) => {
                    tracing::error!(%error, "no password can be taken without TLS");
                    return Ok(None);
                }
            };
            if *sent == [REQUEST_PUBLIC_KEY] {
                let pem = key.public_pem();
                self.send_login(seq, |body| AuthMoreData(pem).encode(body)).await?;
                sent = Zeroizing::new(self.login_packet(seq).await?);
            }
            match key.decrypt(&sent, &self.salt) {
                Ok(password) => sent = Zeroizing::new(password),
                Err(error) => {
                    tracing::debug!(%error, "a password could not be decrypted");
                    return Ok(None);
                }
            }
        }
        let text = sent.strip_suffix(&[0]).unwrap_or(&sent);
        // A password is bytes; those that are not UTF-8 no driver in use can send.
        Ok(std::str::from_utf8(text).ok().map(|text| Secret::new(text.to_owned())))
    }

    /// Whether the password is right: by what is known, else by what a server says.
    async fn judge(&mut self, password: Secret, known_here: Option<Secret>) -> Proof {
        let given = !password.expose().is_empty();
        if let Some(known) = known_here {
            return if known == password {
                self.accept_static(&password)
            } else {
                Err(self.denied(given))
            };
        }
        let began = Instant::now();
        loop {
            let now = Instant::now();
            match self.worker.shared.credentials.word(&self.login.user, &password, now) {
                Word::Right(generation) => return Ok((password, generation)),
                Word::Ask => return self.ask_servers(password, given).await,
                Word::AskKnownFirst(known) => {
                    // What comes of it is what is known then.
                    let _ = self.ask_servers(known, true).await;
                    return self.ask_servers(password, given).await;
                }
                Word::Wait if now.saturating_duration_since(began) < MAX_TURN_WAIT => {
                    tokio::time::sleep(TURN_PAUSE).await;
                }
                Word::Wait | Word::Wrong => return Err(self.denied(given)),
            }
        }
    }

    /// Asks the primary (a replica where there is none). While nobody can be asked, as when the primary is being
    /// replaced, a password that was proved before is believed, and another waits as a statement would.
    async fn ask_servers(&mut self, password: Secret, given: bool) -> Proof {
        let mut since = None;
        loop {
            let unasked = match self.ask_server(&password, given).await {
                Asked::Said(proof) => return proof,
                Asked::Nobody(words) => words,
            };
            let known = self.worker.shared.credentials.get(&self.login.user);
            if let Some(known) = known.filter(|known| known.password == password) {
                return Ok((password, known.generation));
            }
            let awaits_primary = self.worker.shared.topology.load().awaits_primary;
            if !awaits_primary || !self.hold(&mut since).await {
                return Err(codes::UNKNOWN_ERROR.packet(unasked));
            }
        }
    }

    /// Logs in to a server; the connection goes to the pool.
    async fn ask_server(&mut self, password: &Secret, given: bool) -> Asked {
        let topology = self.worker.shared.topology.load_full();
        let Some(server) = topology.primary().or_else(|| topology.replicas().next()) else {
            let words = "Weir has no usable server to ask for this user; see its log";
            return Asked::Nobody(words.to_owned());
        };
        let account = Account { password: password.clone(), ..self.account() };
        let credentials = &self.worker.shared.credentials;
        let opened = self.worker.pools.open_new(server.id, &server.config, &account).await;
        let now = Instant::now();
        Asked::Said(match opened {
            Ok(opened) => {
                let before = credentials.get(&self.login.user).map(|known| known.generation);
                let generation = credentials.proved(&self.login.user, password, now);
                if before.is_some_and(|before| before != generation) {
                    self.worker.pools.forget_user(&self.login.user, Some(generation));
                }
                self.login.generation = generation;
                self.worker.pools.adopt(self.pool_key(server.id), opened);
                Ok((password.clone(), generation))
            }
            Err(ConnectError::Refused(error)) if error.code == codes::ACCESS_DENIED.code => {
                credentials.refused(&self.login.user, password, now);
                Err(self.denied(given))
            }
            Err(ConnectError::Refused(error)) => Err(error),
            Err(error) => {
                self.worker.shared.suspects.tell(server.id);
                let words = format!("Weir cannot ask the server for this user: {error}");
                if error.may_pass() {
                    return Asked::Nobody(words);
                }
                Err(codes::UNKNOWN_ERROR.packet(words))
            }
        })
    }

    fn static_password(&self) -> Option<Secret> {
        let users = &self.worker.shared.config.users;
        let user = users.iter().find(|user| user.name.as_bytes() == &*self.login.user)?;
        Some(user.password.clone())
    }

    fn accept_static(&self, password: &Secret) -> Proof {
        let now = Instant::now();
        let generation = self.worker.shared.credentials.proved(&self.login.user, password, now);
        Ok((password.clone(), generation))
    }

    /// MySQL's own words for a wrong user or password.
    fn denied(&self, password_given: bool) -> ErrPacket {
        let user = String::from_utf8_lossy(&self.login.user);
        let given = if password_given { "YES" } else { "NO" };
        let words = format!(
            "Access denied for user '{user}'@'{}' (using password: {given})",
            self.peer_host()
        );
        codes::ACCESS_DENIED.packet(words)
    }

    /// The client's host as a server on this machine would name it.
    fn peer_host(&self) -> &str {
        if self.peer == "127.0.0.1" || self.peer == "::1" { "localhost" } else { &self.peer }
    }

    async fn send_login(
        &mut self,
        seq: &mut u8,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Closed> {
        let mut out = Vec::with_capacity(512);
        frame_with(&mut out, seq, encode);
        Ok(self.client.write_all(&out).await?)
    }
}
