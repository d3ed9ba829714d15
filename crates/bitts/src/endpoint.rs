//! Which server the client commands talk to, found as AWS's tools find theirs.

use std::net::IpAddr;

use bitts_client::credentials::SettingsError;
use bitts_client::data_plane::{CallError, Config, ConfigError, DataPlane};
use bitts_client::mqtt;
use clap::Args;

use crate::failure::Failure;

const DEFAULT_URL: &str = "http://127.0.0.1:8830";

/// Options of every command that asks a data plane.
#[derive(Args, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct Endpoint {
    /// The server [default: AWS_ENDPOINT_URL_IOT_DATA_PLANE, else AWS_ENDPOINT_URL, else port 8830
    /// of this machine].
    #[arg(long, value_name = "URL", global = true)]
    endpoint_url: Option<String>,
    /// AWS region to sign for [default: that of the environment or profile, else us-east-1].
    #[arg(long, global = true)]
    region: Option<String>,
    /// Profile of the shared AWS files to take the access key from.
    #[arg(long, value_name = "NAME", global = true)]
    profile: Option<String>,
}

impl Endpoint {
    pub(crate) fn data_plane(&self) -> Result<DataPlane, Failure> {
        self.config()
            .and_then(DataPlane::new)
            .map_err(|error| Failure::Usage(format!("no data plane to ask: {error}")))
    }

    fn config(&self) -> Result<Config, ConfigError> {
        let mut config = match Config::from_environment(self.profile.as_deref()) {
            // A default profile without an access key shall not keep anyone from a server of this
            // machine, which asks for none.
            Err(ConfigError::Settings(SettingsError::Unsupported { .. }))
                if self.profile.is_none() && self.is_local() =>
            {
                Config { endpoint_url: url_of_environment(), ..Config::default() }
            }
            config => config?,
        };
        if let Some(url) = &self.endpoint_url {
            config.endpoint_url = Some(url.clone());
        }
        config.endpoint_url.get_or_insert_with(|| DEFAULT_URL.to_owned());
        if let Some(region) = &self.region {
            config.region.clone_from(region);
        }
        Ok(config)
    }

    /// Whether the flag or a variable names a server of this machine.
    fn is_local(&self) -> bool {
        let Some(url) = self.endpoint_url.clone().or_else(url_of_environment) else { return false };
        let authority = url.trim_start_matches("http://").trim_end_matches('/');
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

fn url_of_environment() -> Option<String> {
    let variables = ["AWS_ENDPOINT_URL_IOT_DATA_PLANE", "AWS_ENDPOINT_URL"];
    variables.into_iter().find_map(|name| std::env::var(name).ok().filter(|url| !url.is_empty()))
}

/// A call that failed, in the words of the exception or of the network.
pub(crate) fn refused(error: impl Into<CallError>) -> Failure {
    Failure::Refused(error.into().to_string())
}

/// An MQTT server by its address or URL.
pub(crate) fn mqtt_endpoint(address: &str) -> Result<mqtt::Endpoint, Failure> {
    let url =
        if address.contains("://") { address.to_owned() } else { format!("mqtt://{address}") };
    mqtt::Endpoint::parse(&url).map_err(|error| Failure::Usage(format!("--mqtt: {error}")))
}

/// An MQTT connection that did not come about.
pub(crate) fn not_connected(error: mqtt::ConnectError) -> Failure {
    match error {
        mqtt::ConnectError::Invalid(invalid) => Failure::Usage(invalid.to_string()),
        error => Failure::Refused(error.to_string()),
    }
}

/// A request over MQTT that was not carried out.
pub(crate) fn not_done(error: mqtt::RequestError) -> Failure {
    match error {
        mqtt::RequestError::Invalid(invalid) => Failure::Usage(invalid.to_string()),
        error => Failure::Refused(error.to_string()),
    }
}
