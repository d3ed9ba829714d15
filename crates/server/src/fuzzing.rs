//! Fuzz targets of what only the server has: any bytes go in, and whoever breaks a promise panics.
//!
//! `fuzz/` runs them with coverage; the tests below replay its corpora.

use crate::config::Settings;
use crate::websocket::WebSocket;

/// Frames of a WebSocket client: however they are cut, the same payload and the same answers.
pub fn websocket(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else { return };
    let whole = unframed(bytes, bytes.len().max(1));
    assert!(whole.0.len() <= bytes.len(), "more payload than bytes");
    assert_eq!(unframed(bytes, usize::from(*step).max(1)), whole);
}

/// Payload, answers, and how it ended, of bytes that arrive `step` at a time.
fn unframed(bytes: &[u8], step: usize) -> (Vec<u8>, Vec<u8>, Option<crate::websocket::Ended>) {
    let mut socket = WebSocket::default();
    let (mut payload, mut answers) = (Vec::new(), Vec::new());
    for chunk in bytes.chunks(step) {
        let mut chunk = chunk.to_vec();
        let len = socket.take_frames(&mut chunk, &mut answers);
        payload.extend_from_slice(chunk.get(..len).unwrap_or_default());
    }
    (payload, answers, socket.ended())
}

/// A configuration file: settings that check, or an error that names its line.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match Settings::from_text(text) {
        Ok(settings) => {
            assert!(settings.changes(&settings).is_empty(), "settings differ from themselves");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    fn replay(name: &str, target: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
        let mut inputs = 0;
        for entry in fs::read_dir(corpus).unwrap() {
            target(&fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 3, "{name} has {inputs} inputs");
    }

    #[test]
    fn the_corpus_of_websocket_breaks_nothing() {
        replay("websocket", super::websocket);
    }

    #[test]
    fn the_corpus_of_config_breaks_nothing() {
        replay("config", super::config);
    }
}
