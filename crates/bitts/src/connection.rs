//! `bitts connection`: look at clients, and put them off.

use std::collections::BTreeMap;

use bitts_client::api::{Connection, DeleteConnection, GetConnection};
use bitts_client::data_plane::{DataPlane, ListedConnection, SelectConnections};
use clap::{ArgAction, Args, Subcommand};

use crate::disconnect::Many;
use crate::endpoint::{Endpoint, refused};
use crate::failure::Failure;
use crate::output::{Format, say_facts, say_json, say_table, time};
use crate::send::Send;

const LIST_HEADER: [&str; 7] =
    ["CLIENT ID", "CONNECTED", "PROTOCOL", "SINCE", "SESSION", "SUBSCRIPTIONS", "QUEUED"];

#[derive(Args, Debug)]
pub(crate) struct ConnectionCommand {
    /// How to print [default: table on a terminal, else json].
    #[arg(long, value_name = "FORMAT", global = true)]
    output: Option<Format>,
    #[command(flatten)]
    endpoint: Endpoint,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the clients that are connected or have a session (Bitts only).
    List {
        /// Only Client Identifiers that begin so.
        #[arg(long)]
        prefix: Option<String>,
        /// Only clients that are connected; --connected=false: only those that are not.
        #[arg(
            long,
            value_name = "BOOL",
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "true",
            action = ArgAction::Set
        )]
        connected: Option<bool>,
        /// At most so many.
        #[arg(long, value_name = "N")]
        max_items: Option<usize>,
    },
    /// Say whether a client is connected, since when, and why it is not.
    Get {
        /// Whose connection.
        client_id: String,
        /// Its addresses and ports too.
        #[arg(long)]
        include_socket_information: bool,
    },
    /// Put a client off: MQTT 5 clients get DISCONNECT 0x98, the will is sent, the session is kept.
    ///
    /// It does not keep the client from connecting again. With --match many clients are put off.
    Delete {
        /// Whose connection.
        #[arg(required_unless_present = "pattern")]
        client_id: Option<String>,
        /// End the session too: its subscriptions and what waits for it.
        #[arg(long)]
        clean_session: bool,
        /// Do not send the will.
        #[arg(long)]
        prevent_will_message: bool,
        #[command(flatten)]
        many: Many,
    },
    /// List a client's subscriptions.
    Subscriptions {
        /// Whose subscriptions.
        client_id: String,
    },
    /// Send a message to one client that is connected, whether it subscribes or not.
    Send(Send),
}

impl ConnectionCommand {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let data_plane = self.endpoint.data_plane()?;
        let format = Format::or_by_terminal(self.output);
        match self.action {
            Action::List { prefix, connected, max_items } => {
                let select = SelectConnections { prefix, connected, max_results: None };
                list(&data_plane, &select, max_items.unwrap_or(usize::MAX), format).await
            }
            Action::Get { client_id, include_socket_information } => {
                let request = GetConnection { client_id, include_socket_information };
                let connection = data_plane.get_connection(&request).await.map_err(refused)?;
                match format {
                    Format::Json => say_json(&connection),
                    Format::Table => say_facts(facts(connection)),
                }
            }
            Action::Delete { client_id, clean_session, prevent_will_message, many } => {
                let switches = (clean_session, prevent_will_message);
                if many.run(&data_plane, switches, format).await? {
                    return Ok(());
                }
                let client_id = client_id.unwrap_or_default();
                let request = DeleteConnection { client_id, clean_session, prevent_will_message };
                data_plane.delete_connection(&request).await.map_err(refused)
            }
            Action::Send(send) => send.run(&data_plane).await,
            Action::Subscriptions { client_id } => {
                subscriptions(&data_plane, &client_id, format).await
            }
        }
    }
}

async fn list(
    data_plane: &DataPlane,
    select: &SelectConnections,
    max_items: usize,
    format: Format,
) -> Result<(), Failure> {
    let mut pager = data_plane.list_connections(select);
    let mut connections: Vec<ListedConnection> = Vec::new();
    while connections.len() < max_items
        && let Some(page) = pager.next_page().await
    {
        connections.extend(page.map_err(refused)?);
    }
    connections.truncate(max_items);
    match format {
        Format::Json => say_json(&BTreeMap::from([("connections", connections)])),
        Format::Table => say_table(LIST_HEADER, connections.into_iter().map(row)),
    }
}

fn row(listed: ListedConnection) -> [String; 7] {
    let connection = listed.connection;
    let since = connection.connected_since.or(connection.disconnected_since);
    let is_connected = if connection.connected { "yes" } else { "no" };
    [
        connection.client_id.unwrap_or_default(),
        is_connected.to_owned(),
        listed.protocol.unwrap_or_default(),
        since.map(time).unwrap_or_default(),
        connection.session_expiry.map_or_else(|| "clean".to_owned(), |s| format!("{s} s")),
        listed.subscriptions.to_string(),
        listed.queued.to_string(),
    ]
}

/// What is known of a connection, a row each.
fn facts(connection: Connection) -> impl Iterator<Item = [String; 2]> {
    let yes_or_no = |yes| if yes { "yes" } else { "no" }.to_owned();
    let seconds = |number: u64| format!("{number} s");
    let port = |number: u16| number.to_string();
    [
        ("client ID", connection.client_id),
        ("connected", Some(yes_or_no(connection.connected))),
        ("connected since", connection.connected_since.map(time)),
        ("disconnected since", connection.disconnected_since.map(time)),
        ("disconnect reason", connection.disconnect_reason),
        ("clean session", connection.clean_session.map(yes_or_no)),
        ("session expiry", connection.session_expiry.map(seconds)),
        ("keep alive", connection.keep_alive_duration.map(u64::from).map(seconds)),
        ("thing", connection.thing_name),
        ("source IP", connection.source_ip),
        ("source port", connection.source_port.map(port)),
        ("target IP", connection.target_ip),
        ("target port", connection.target_port.map(port)),
    ]
    .into_iter()
    .filter_map(|(name, fact)| Some([name.to_owned(), fact?]))
}

async fn subscriptions(
    data_plane: &DataPlane,
    client_id: &str,
    format: Format,
) -> Result<(), Failure> {
    let subscriptions = data_plane.list_subscriptions(client_id).all().await.map_err(refused)?;
    match format {
        Format::Json => say_json(&BTreeMap::from([("subscriptions", subscriptions)])),
        Format::Table => {
            let row =
                |one: bitts_client::api::Subscription| [one.topic_filter, one.qos.to_string()];
            say_table(["TOPIC FILTER", "QOS"], subscriptions.into_iter().map(row))
        }
    }
}
