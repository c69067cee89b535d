//! How one setting is written and read.

/// A type of setting.
pub trait Value: Sized {
    /// Kind, for people.
    const KIND: &'static str;
    /// Reads it; the error says what was expected.
    fn parse(text: &str) -> Result<Self, String>;
    /// Writes it as in the file.
    fn show(&self) -> String;
}

macro_rules! numbers {
    ($($type:ty),+) => { $(
        impl Value for $type {
            const KIND: &'static str = "number";
            fn parse(text: &str) -> Result<Self, String> {
                text.trim().parse().map_err(|_| format!("expected a number, found '{text}'"))
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+ };
}
numbers!(u16, u32, u64, usize, i64);

impl Value for bool {
    const KIND: &'static str = "true or false";
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("expected true or false, found '{text}'")),
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        match text.chars().find(|c| c.is_control()) {
            Some(c) => Err(format!("contains the control character {c:?}")),
            None => Ok(text.trim().to_owned()),
        }
    }
    fn show(&self) -> String {
        self.clone()
    }
}

macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $( $(#[doc = $vdoc:literal])+ $variant:ident = $word:literal, )+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[doc = $vdoc])+ $variant, )+ }

        impl Value for $name {
            const KIND: &'static str = concat!("one of", $(" ", $word),+);
            fn parse(text: &str) -> Result<Self, String> {
                $( if text.trim().eq_ignore_ascii_case($word) { return Ok(Self::$variant); } )+
                Err(format!("expected {}, found '{text}'", Self::KIND))
            }
            fn show(&self) -> String {
                match self { $( Self::$variant => $word.to_owned(), )+ }
            }
        }
    };
}

words! {
    /// When an append counts as stored (ADR 005).
    FlushDiskType {
        /// Synced to disk.
        Sync = "SYNC_FLUSH",
        /// In the page cache.
        Async = "ASYNC_FLUSH",
    }
}

words! {
    /// Part a broker plays in its group (ADR 006).
    BrokerRole {
        /// A voter; answers after its own group's majority.
        AsyncMaster = "ASYNC_MASTER",
        /// Not offered yet; served as `ASYNC_MASTER`.
        SyncMaster = "SYNC_MASTER",
        /// A learner: serves reads, never elected.
        Slave = "SLAVE",
    }
}

words! {
    /// TLS on the client port.
    TlsMode {
        /// A TLS hello closes the connection.
        Disabled = "disabled",
        /// TLS and plain text, told apart by the first byte.
        Permissive = "permissive",
        /// Plain text closes the connection.
        Enforcing = "enforcing",
    }
}

/// One founding member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Slot, such as `n0`.
    pub slot: String,
    /// `host:port` between members.
    pub addr: String,
}

/// Founding members, DLedger's way of writing: `n0-host:port;n1-host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers(pub Vec<Peer>);

impl Value for Peers {
    const KIND: &'static str = "n0-host:port;n1-host:port;…";
    fn parse(text: &str) -> Result<Self, String> {
        let mut peers: Vec<Peer> = Vec::new();
        for item in text.split(';').map(str::trim).filter(|item| !item.is_empty()) {
            let wrong = || format!("expected {}, found '{item}'", Self::KIND);
            let (slot, addr) = item.split_once('-').ok_or_else(wrong)?;
            let (host, port) = addr.rsplit_once(':').ok_or_else(wrong)?;
            slot_number(slot).ok_or_else(wrong)?;
            if host.is_empty() || port.parse::<u16>().is_err() {
                return Err(wrong());
            }
            if peers.iter().any(|peer| peer.slot == slot || peer.addr == addr) {
                return Err(format!("'{item}' is there twice"));
            }
            peers.push(Peer {
                slot: slot.to_owned(),
                addr: addr.to_owned(),
            });
        }
        Ok(Peers(peers))
    }
    fn show(&self) -> String {
        let items: Vec<String> = self
            .0
            .iter()
            .map(|peer| format!("{}-{}", peer.slot, peer.addr))
            .collect();
        items.join(";")
    }
}

/// The number of a slot: 2 of `n2`.
pub fn slot_number(slot: &str) -> Option<u64> {
    slot.strip_prefix('n')?.parse().ok()
}
