//! Every format that a release wrote is read.

use std::path::{Path, PathBuf};

use bitts_broker::Now;
use bitts_broker::record::{SavedIdentity, Stage};
use bitts_store::disk::OsDisk;
use bitts_store::{Opened, recover};

/// A copy of a journal that stands beside the tests, for nothing may be made there.
fn copy_of(name: &str, folder: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let to = folder.join(name);
    std::fs::create_dir(&to).expect("copied");
    for file in std::fs::read_dir(from).expect("copied") {
        let file = file.expect("copied");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
    to
}

/// Two shards were killed with a session offline, a client with a Will connected, a QoS 2 exchange
/// half done, a retained message and a shadow.
#[test]
fn format_1_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let disk = OsDisk::open(&copy_of("format-1", folder.path())).unwrap();
    let (opened, recovered): (Opened<OsDisk>, _) = recover(disk, Now::default()).unwrap();
    assert_eq!((opened.torn, recovered.unknown, recovered.shards), (None, 0, 2));
    let find = |client_id: &str| {
        let mut sessions = recovered.sessions.iter();
        sessions.find(|session| &*session.client_id == client_id).unwrap()
    };
    let lamp = find("lamp");
    assert!(lamp.subscriptions.contains_key("lamps/#"));
    assert!(lamp.detached.is_some());
    let owed: Vec<_> = lamp.owed.iter().filter_map(|owed| owed.message.as_ref()).collect();
    let texts: Vec<_> = owed.iter().map(|message| (&*message.topic, &*message.payload)).collect();
    assert_eq!(texts, [("lamps/1", &b"on"[..]), ("lamps/2", b"off")]);
    assert!(lamp.owed.iter().all(|owed| owed.sent.is_none_or(|(_, it)| it == Stage::Published)));
    let will = find("watched").will.as_ref().unwrap();
    assert_eq!((&*will.message.topic, &*will.message.payload), ("wills/watched", &b"gone"[..]));
    assert!(find("switch").received.contains(&2));
    let retained: Vec<_> = recovered.retained.iter().map(|message| &*message.topic).collect();
    assert_eq!(retained, ["state/1"]);
    assert_eq!(recovered.shadows.len(), 1);
}

/// One shard that asked who its clients are was killed with two connected: one by its certificate,
/// through TLS and allowed any client id, one by its password and allowed this one.
#[test]
fn who_clients_are_is_read_of_format_1() {
    let folder = tempfile::tempdir().unwrap();
    let disk = OsDisk::open(&copy_of("format-1-principals", folder.path())).unwrap();
    let (_, recovered): (Opened<OsDisk>, _) = recover(disk, Now::default()).unwrap();
    let principals: Vec<_> = recovered
        .sessions
        .iter()
        .filter_map(|session| Some((&*session.client_id, session.principal.as_deref()?)))
        .collect();
    let [("lamp", lamp), ("watched", watched)] = principals[..] else { panic!("{principals:?}") };
    assert_eq!(lamp.identity, SavedIdentity::User("ann".into()));
    assert_eq!((lamp.is_secure, lamp.names_client), (false, true));
    let SavedIdentity::Certificate(id) = watched.identity else { panic!("{watched:?}") };
    assert_eq!(id[..4], [0xed, 0xcf, 0x00, 0xe8]);
    assert_eq!((watched.is_secure, watched.names_client), (true, false));
    assert!(watched.source.is_loopback());
}
