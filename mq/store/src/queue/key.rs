//! Looks topics up by a borrowed name, without making a key first.

/// Topic name and incarnation.
pub(super) type TopicKey = (Box<str>, u64);

/// A topic's identity, owned or borrowed.
pub(super) trait Key {
    fn parts(&self) -> (&str, u64);
}

impl Key for TopicKey {
    fn parts(&self) -> (&str, u64) {
        (&self.0, self.1)
    }
}

impl Key for (&str, u64) {
    fn parts(&self) -> (&str, u64) {
        (self.0, self.1)
    }
}

impl<'a> std::borrow::Borrow<dyn Key + 'a> for TopicKey {
    fn borrow(&self) -> &(dyn Key + 'a) {
        self
    }
}

impl std::hash::Hash for dyn Key + '_ {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn Key + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Key + '_ {}
