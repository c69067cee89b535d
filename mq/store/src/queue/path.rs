//! Topic names as folder names.

use std::io;

/// Longer names are cut and end in their hash: a folder name has at most 255 bytes, a retry topic may have 262.
const NAME_MAX: usize = 180;

/// `<topic>`, or `<topic>~<incarnation>`; `~` is in no topic name. A name that RocketMQ would refuse is refused here
/// too, whatever was checked above: it becomes a path.
pub(super) fn folder(topic: &str, incarnation: u64) -> io::Result<String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'%' | b'|');
    if topic.is_empty() || topic.len() > 4096 || !topic.bytes().all(legal) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{topic:?} is not a topic name"),
        ));
    }
    let mut name = topic.to_owned();
    if topic.len() > NAME_MAX {
        let hash = xxhash_rust::xxh3::xxh3_128(topic.as_bytes());
        name.truncate(NAME_MAX);
        name.push_str(&format!("~{hash:032x}"));
    }
    if incarnation != 0 {
        name.push_str(&format!("~{incarnation}"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::folder;

    #[test]
    fn names_that_are_paths_are_refused() {
        for bad in ["", ".", "..", "a/b", "a.b", "a\0b", "a~1", "ä", " "] {
            assert!(folder(bad, 0).is_err(), "{bad:?}");
        }
        for good in ["T", "%RETRY%g-1", "a|b_c", "%DLQ%x"] {
            assert_eq!(folder(good, 0).unwrap(), good);
        }
    }

    #[test]
    fn identities_never_share_a_folder() {
        let long = "x".repeat(262);
        let other = format!("{}y", "x".repeat(261));
        let names = [
            folder("T", 0).unwrap(),
            folder("T", 1).unwrap(),
            folder("T", 11).unwrap(),
            folder(&long, 0).unwrap(),
            folder(&long, 1).unwrap(),
            folder(&other, 0).unwrap(),
        ];
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert!(names.iter().all(|name| name.len() <= 255));
    }
}
