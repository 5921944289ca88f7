//! A container's place in its network: taken away to fence it, given back.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::errors::Error;
use bollard::models::{
    EndpointIpamConfig, EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest,
    NetworkingConfig,
};

use super::{Engine, cause, found_or_none, refused};
use crate::cluster::error::ClusterError;
use crate::cluster::node::ContainerSpec;

impl Engine {
    /// Takes the container out of the network; out of it already, or gone, is fine.
    pub(in crate::cluster) async fn disconnect(
        &self,
        network: &str,
        name: &str,
    ) -> Result<(), ClusterError> {
        let request = NetworkDisconnectRequest { container: name.to_owned(), force: Some(true) };
        match self.docker.disconnect_network(network, request).await {
            Err(error) if cause(&error).contains("is not connected") => Ok(()),
            done => found_or_none(done, || format!("cutting {name} off")).map(|_| ()),
        }
    }

    /// Puts the container back into its network, under its own address.
    pub(super) async fn reconnect(&self, spec: &ContainerSpec) -> Result<(), ClusterError> {
        let request = NetworkConnectRequest {
            container: spec.name.clone(),
            endpoint_config: Some(settings(spec.address)),
        };
        match self.docker.connect_network(&spec.network, request).await {
            // Somebody was quicker.
            Err(Error::DockerResponseServerError { status_code: 403, message })
                if message.contains("already exists") =>
            {
                Ok(())
            }
            done => done.map_err(|error| {
                refused(format!("connecting {} to network {}", spec.name, spec.network), &error)
            }),
        }
    }
}

/// The container's place in the network: a fixed address.
pub(super) fn endpoint(network: &str, address: Ipv4Addr) -> NetworkingConfig {
    let endpoints = HashMap::from([(network.to_owned(), settings(address))]);
    NetworkingConfig { endpoints_config: Some(endpoints) }
}

fn settings(address: Ipv4Addr) -> EndpointSettings {
    EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    }
}
