//! The terminal while a command reads keys: each is heard when it is pressed, and the terminal is as it was afterwards.

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use std::io::{IsTerminal, Read, stdin};
use tokio::sync::mpsc;

/// Keys as they are pressed, until it is dropped.
pub struct Keys {
    before: Termios,
    heard: mpsc::Receiver<Key>,
}

/// What was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Character(char),
    Enter,
    Backspace,
    Escape,
}

impl Keys {
    /// `None` where nobody presses keys: standard input is no terminal.
    pub fn listen() -> Option<Self> {
        if !stdin().is_terminal() {
            return None;
        }
        let before = termios::tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        // Ctrl-C still ends the command.
        raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        termios::tcsetattr(stdin(), SetArg::TCSANOW, &raw).ok()?;
        let (press, heard) = mpsc::channel(64);
        // It waits in a read that nothing ends; it goes with the process.
        std::thread::spawn(move || {
            let mut bytes = [0; 64];
            while let Ok(count @ 1..) = stdin().read(&mut bytes) {
                for key in keys(&bytes[..count]) {
                    if press.blocking_send(key).is_err() {
                        return;
                    }
                }
            }
        });
        Some(Self { before, heard })
    }

    /// Waits for a key; never returns when there are no more.
    pub async fn next(&mut self) -> Key {
        match self.heard.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = termios::tcsetattr(stdin(), SetArg::TCSANOW, &self.before);
    }
}

/// What a terminal sends at once. Sequences of function keys begin with an escape and come as a whole: they say nothing here.
fn keys(bytes: &[u8]) -> Vec<Key> {
    match bytes {
        [0x1b] => vec![Key::Escape],
        [0x1b, ..] => Vec::new(),
        bytes => String::from_utf8_lossy(bytes).chars().filter_map(key).collect(),
    }
}

fn key(character: char) -> Option<Key> {
    match character {
        '\n' | '\r' => Some(Key::Enter),
        '\u{7f}' | '\u{8}' => Some(Key::Backspace),
        '\u{1b}' => Some(Key::Escape),
        character if character.is_control() => None,
        character => Some(Key::Character(character)),
    }
}

/// Lines that fit on the terminal; `None` without one.
pub fn height() -> Option<usize> {
    let (_, terminal_size::Height(lines)) = terminal_size::terminal_size()?;
    Some(lines.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_keys() {
        assert_eq!(keys(b"q"), [Key::Character('q')]);
        assert_eq!(keys("/ö\r".as_bytes()), [Key::Character('/'), Key::Character('ö'), Key::Enter]);
        assert_eq!(keys(&[0x1b]), [Key::Escape]);
        assert_eq!(keys(b"\x1b[A"), []);
        assert_eq!(keys(&[0x7f, 0x01]), [Key::Backspace]);
    }
}
