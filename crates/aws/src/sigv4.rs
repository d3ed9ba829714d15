//! Signature Version 4: signing our own requests and verifying those of others.
