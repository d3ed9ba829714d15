//! The typed Rust client of Bitts and of AWS IoT Core: the data plane over HTTP, and MQTT.
//!
//! # The data plane
//!
//! [`data_plane::DataPlane`] has one method for each operation. It signs (Signature Version 4)
//! where it has credentials, keeps connections alive, and sends again what may be sent again, as
//! AWS's SDKs do. Each operation has its own error type with AWS's exceptions as variants; all of
//! them convert to [`data_plane::CallError`].
//!
//! ```no_run
//! use bitts_client::data_plane::{Config, DataPlane, DeleteConnectionError};
//! use bitts_aws::api::DeleteConnection;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config { endpoint_url: Some("http://127.0.0.1:8830".into()), ..Config::default() };
//! let data_plane = DataPlane::new(config)?;
//! let request = DeleteConnection {
//!     client_id: "thermostat-7".into(),
//!     clean_session: true,
//!     prevent_will_message: false,
//! };
//! match data_plane.delete_connection(&request).await {
//!     Ok(()) => println!("done"),
//!     Err(DeleteConnectionError::ResourceNotFound(refusal)) => println!("{}", refusal.message),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`data_plane::Config::from_environment`] finds endpoint, region and credentials where AWS's
//! tools do: environment variables, then `~/.aws/config` and `~/.aws/credentials`.
//!
//! * `delete_connection`, `send_direct_message`, `publish`: nothing but that it is done
//! * `get_connection`: a [`Connection`](bitts_aws::api::Connection)
//! * `get_retained_message`: a [`RetainedMessage`](bitts_aws::api::RetainedMessage)
//! * `get_thing_shadow`, `update_thing_shadow`, `delete_thing_shadow`: a document of JSON
//! * `list_subscriptions`, `list_retained_messages`, `list_named_shadows_for_thing`: a
//!   [`Pager`](data_plane::Pager)
//! * `list_connections`: a pager of connections; Bitts only
//! * `get_json`: anything under `/bitts/v1/`
//!
//! All are methods of [`DataPlane`](data_plane::DataPlane).
//!
//! # MQTT
//!
//! [`mqtt::connect`] opens one connection of MQTT 3.1.1 or 5 and gives a [`mqtt::Client`] to act,
//! a [`mqtt::Incoming`] of messages, and the server's CONNACK. A call returns when the server
//! answered: `publish` after PUBACK or PUBCOMP, `subscribe` after SUBACK. There is no automatic
//! reconnect: a connection ends once, [`mqtt::Client::ended`] says how, and who wants another one
//! connects again.
//!
//! ```no_run
//! use bitts_client::mqtt::{self, ConnectOptions, Endpoint, Filter, Publish, QoS};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::parse("mqtt://127.0.0.1:1883")?;
//! let options = ConnectOptions { client_id: "lamp-1".into(), ..ConnectOptions::default() };
//! let mqtt::Connected { client, mut incoming, .. } = mqtt::connect(&endpoint, options).await?;
//! client.subscribe(&[Filter::new("lamps/#", QoS::One)]).await?;
//! client.publish(Publish::new("lamps/1", "on").qos(QoS::One)).await?;
//! if let Some(message) = incoming.next().await {
//!     println!("{} {:?}", message.topic, message.payload);
//! }
//! client.disconnect(mqtt::Disconnect::default()).await;
//! # Ok(())
//! # }
//! ```

pub mod credentials;
pub mod data_plane;
pub mod mqtt;
pub mod tls;
mod url;

pub use bitts_aws::api;
