//! The lead kept in etcd, for Weirs on several hosts: a key on a lease that its holder renews. The only file that
//! names etcd's client.
//!
//! `weir/<cluster>/leader` is made by one who finds it absent, and goes with its lease. The revision that made
//! it is the fencing token: `weir/<cluster>/record` is written only by a transaction that compares it.

use std::time::Duration;

use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Error, Identity, PutOptions,
    TlsOptions, Txn, TxnOp,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cluster::error::ClusterError;
use crate::cluster::state::Record;
use crate::config::Etcd;

use super::{Holder, Lease, Owner};

/// How long etcd may take to answer; it elects a new leader of its own in about a second.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// A lease is renewed so often within its time.
const RENEWALS: u32 = 4;

#[derive(Clone)]
pub(super) struct Store {
    client: Client,
    cluster: String,
    /// Where it is, for errors.
    endpoints: String,
    lease: Duration,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// The value of the leader's key.
#[derive(Serialize, Deserialize)]
struct Leads {
    owner: String,
    name: String,
}

impl Store {
    pub(super) async fn connect(etcd: &Etcd, cluster: &str) -> Result<Self, ClusterError> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(ANSWER_LIMIT)
            .with_timeout(ANSWER_LIMIT)
            .with_require_leader(true);
        if let Some((user, password)) = &etcd.login {
            options = options.with_user(user, password.expose());
        }
        let endpoints = etcd.endpoints.join(", ");
        let failed = |cause: String| failed(cluster, &endpoints, "connecting", &cause);
        if etcd.endpoints.iter().any(|endpoint| endpoint.starts_with("https://")) {
            options = options.with_tls(tls(etcd).map_err(failed)?);
        }
        let connected = answer(Client::connect(&etcd.endpoints, Some(options))).await;
        let client = connected.map_err(failed)?;
        Ok(Self { client, cluster: cluster.to_owned(), endpoints, lease: etcd.lease })
    }

    pub(super) async fn holder(&self) -> Result<Option<Holder>, ClusterError> {
        let mut client = self.client.clone();
        let got = self.ask("asking who leads", client.get(self.leader_key(), None)).await?;
        let Some(pair) = got.kvs().first() else { return Ok(None) };
        let leads: Leads = self.parsed(pair.value())?;
        let lease = Lease::Etcd(pair.create_revision(), pair.lease());
        Ok(Some(Holder { owner: leads.owner, name: leads.name, lease }))
    }

    /// Who leads now, and whether that was decided just now.
    pub(super) async fn campaign(&self, owner: &Owner) -> Result<(Holder, bool), ClusterError> {
        if let Some(holder) = self.holder().await? {
            return Ok((holder, false));
        }
        let mut client = self.client.clone();
        let seconds = i64::try_from(self.lease.as_secs()).unwrap_or(i64::MAX);
        let granted = self.ask("asking for a lease", client.lease_grant(seconds, None)).await?;
        let leads = Leads { owner: owner.id.clone(), name: owner.name.clone() };
        let value = self.text(&leads)?;
        let options = PutOptions::new().with_lease(granted.id());
        let absent = Compare::create_revision(self.leader_key(), CompareOp::Equal, 0);
        let put = TxnOp::put(self.leader_key(), value, Some(options));
        let txn = Txn::new().when([absent]).and_then([put]);
        let taken = self.ask("taking the lead", client.txn(txn)).await?.succeeded();
        if !taken {
            self.revoke(granted.id()).await?;
        }
        let holder = self
            .holder()
            .await?
            .ok_or_else(|| self.failed("taking the lead", "it was lost at once"))?;
        Ok((holder, taken))
    }

    /// An error when the lease is over.
    pub(super) async fn renew(&self, lease: i64) -> Result<(), ClusterError> {
        let mut client = self.client.clone();
        // The client's first answer is the renewal.
        self.ask("renewing the lease", client.lease_keep_alive(lease)).await.map(|_| ())
    }

    /// Renews the lease; returns when it is over, or may be.
    pub(super) async fn keep(self, lease: i64) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < self.lease {
            let asked = Instant::now();
            match self.renew(lease).await {
                Ok(()) => renewed = asked,
                Err(error) => {
                    tracing::debug!(%error, "the lease was not renewed");
                    // Whether it is over, or etcd does not answer: the one is asked for, the other is waited for.
                    match self.holder().await {
                        Ok(Some(holder)) if matches!(holder.lease, Lease::Etcd(_, id) if id == lease) =>
                            {}
                        Ok(_) => return,
                        Err(_) => {}
                    }
                }
            }
            tokio::time::sleep(self.lease / RENEWALS).await;
        }
    }

    pub(super) async fn revoke(&self, lease: i64) -> Result<(), ClusterError> {
        let mut client = self.client.clone();
        self.ask("giving the lease back", client.lease_revoke(lease)).await.map(|_| ())
    }

    pub(super) async fn record(&self) -> Result<Option<Record>, ClusterError> {
        let mut client = self.client.clone();
        let got = self.ask("reading the record", client.get(self.record_key(), None)).await?;
        got.kvs().first().map(|pair| self.parsed(pair.value())).transpose()
    }

    /// Whether it was written: only while the lead is the one of that revision.
    pub(super) async fn write(&self, revision: i64, record: &Record) -> Result<bool, ClusterError> {
        let leads = Compare::create_revision(self.leader_key(), CompareOp::Equal, revision);
        let put = TxnOp::put(self.record_key(), self.text(record)?, None);
        let mut client = self.client.clone();
        let txn = client.txn(Txn::new().when([leads]).and_then([put]));
        Ok(self.ask("writing the record", txn).await?.succeeded())
    }

    pub(super) async fn forget(&self) -> Result<(), ClusterError> {
        let mut client = self.client.clone();
        self.ask("removing the record", client.delete(self.record_key(), None)).await.map(|_| ())
    }

    async fn ask<T>(
        &self,
        doing: &str,
        asked: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, ClusterError> {
        answer(asked).await.map_err(|cause| self.failed(doing, &cause))
    }

    fn leader_key(&self) -> String {
        format!("weir/{}/leader", self.cluster)
    }

    fn record_key(&self) -> String {
        format!("weir/{}/record", self.cluster)
    }

    fn parsed<T: for<'de> Deserialize<'de>>(&self, value: &[u8]) -> Result<T, ClusterError> {
        serde_json::from_slice(value).map_err(|error| self.failed("reading", &error.to_string()))
    }

    fn text(&self, value: &impl Serialize) -> Result<String, ClusterError> {
        serde_json::to_string(value).map_err(|error| self.failed("writing", &error.to_string()))
    }

    fn failed(&self, doing: &str, cause: &str) -> ClusterError {
        failed(&self.cluster, &self.endpoints, doing, cause)
    }
}

/// An answer in time, or why there is none.
async fn answer<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_LIMIT, Box::pin(asked)).await {
        Ok(Ok(answer)) => Ok(answer),
        // Its source would be shown as a program sees it.
        Ok(Err(Error::GRpcStatus(status))) => Err(status.message().to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_LIMIT.as_secs())),
    }
}

fn failed(cluster: &str, endpoints: &str, doing: &str, cause: &str) -> ClusterError {
    let cause = format!("etcd ({endpoints}), {doing}: {cause}");
    ClusterError::Lead { cluster: cluster.to_owned(), cause }
}

fn tls(etcd: &Etcd) -> Result<TlsOptions, String> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let mut options = TlsOptions::new();
    if let Some(ca) = &etcd.ca {
        options = options.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    if let Some((certificate, key)) = &etcd.client {
        options = options.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(options)
}
