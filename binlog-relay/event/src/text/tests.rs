use super::*;
use crate::rows::TextPolicy;
use crate::table::{Column, ColumnType};
use proptest::prelude::*;

fn plan(kind: ColumnType) -> ColumnPlan {
    let column = Column {
        name: "c".into(),
        kind,
        nullable: true,
        invisible: false,
    };
    ColumnPlan::new(&column, &TextPolicy::default()).unwrap()
}

fn written(kind: ColumnType, raw: &[u8]) -> (String, Written) {
    let plan = plan(kind);
    let mut out = Vec::new();
    let written = plan.write_text(raw, &mut out).unwrap();
    let mut quoted = Vec::new();
    assert_eq!(plan.write_json(raw, &mut quoted), Ok(written));
    let mut expected = b"\"".to_vec();
    escape(&out, &mut expected);
    expected.push(b'"');
    assert_eq!(quoted, expected);
    (String::from_utf8(out).unwrap(), written)
}

fn text(kind: ColumnType, raw: &[u8]) -> String {
    written(kind, raw).0
}

#[test]
fn integers() {
    let int = |bytes, unsigned| ColumnType::Int { bytes, unsigned };
    assert_eq!(text(int(1, false), &[0x80]), "-128");
    assert_eq!(text(int(1, true), &[0x80]), "128");
    assert_eq!(text(int(3, false), &[0, 0, 0x80]), "-8388608");
    assert_eq!(text(int(3, false), &[0xff, 0xff, 0xff]), "-1");
    assert_eq!(text(int(3, true), &[0xff, 0xff, 0xff]), "16777215");
    assert_eq!(text(int(8, false), &i64::MIN.to_le_bytes()), "-9223372036854775808");
    assert_eq!(text(int(8, true), &[0xff; 8]), "18446744073709551615");
    assert_eq!(text(ColumnType::Bit { bits: 64 }, &[0xff; 8]), "18446744073709551615");
    assert_eq!(text(ColumnType::Bit { bits: 10 }, &[0x02, 0x01]), "513");
    let labels = || vec!["a".to_owned()];
    assert_eq!(
        text(
            ColumnType::Enum {
                bytes: 2,
                labels: labels()
            },
            &[0, 0]
        ),
        "0"
    );
    assert_eq!(
        text(
            ColumnType::Set {
                bytes: 8,
                labels: labels()
            },
            &[0xff; 8]
        ),
        "18446744073709551615"
    );
    assert_eq!(text(ColumnType::Year, &[0]), "0000");
    assert_eq!(text(ColumnType::Year, &[255]), "2155");
}

#[test]
fn floats() {
    let double = |value| {
        let mut out = Vec::new();
        write_double(value, &mut out);
        String::from_utf8(out).unwrap()
    };
    for (value, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (0.1, "0.1"),
        (1500.0, "1500"),
        (1e20, "100000000000000000000"),
        (1.234e20, "123400000000000000000"),
        (1e21, "1e21"),
        (-1.5e30, "-1.5e30"),
        (0.00001, "0.00001"),
        (0.000012345, "0.000012345"),
        (1e-6, "1e-6"),
        (1.5e-7, "1.5e-7"),
        (f64::MAX, "1.7976931348623157e308"),
        (12_345_678_901_234_567.0, "12345678901234568"),
    ] {
        assert_eq!(double(value), text);
    }
    let float = |value: f32| self::text(ColumnType::Float { unsigned: false }, &value.to_le_bytes());
    assert_eq!(float(0.1), "0.1");
    assert_eq!(float(16_777_216.0), "16777216");
    assert_eq!(float(f32::MAX), "3.4028235e38");
    let kind = ColumnType::Double { unsigned: false };
    assert!(plan(kind).write_text(&f64::NAN.to_le_bytes(), &mut Vec::new()).is_err());
}

#[test]
fn texts_and_bytes() {
    let char = |collation| ColumnType::Char {
        bytes_max: 40,
        collation,
    };
    assert_eq!(written(char(45), "é\"\n".as_bytes()), ("é\"\n".into(), Written::Text));
    assert_eq!(written(char(45), b"a\xff"), ("61FF".into(), Written::Hex));
    assert_eq!(written(char(8), b"\x80\x81"), ("€\u{81}".into(), Written::Text));
    assert_eq!(text(ColumnType::Binary { bytes: 3 }, b"\xff"), "ÿ\0\0");
    assert_eq!(text(ColumnType::VarBinary { bytes_max: 3 }, b"\xff"), "ÿ");
    assert_eq!(text(ColumnType::Blob { length_bytes: 2 }, b"\"\\\x00\xe9"), "\"\\\0é");
    let mut hex = plan(ColumnType::Binary { bytes: 3 });
    hex.policy.binary = BinaryText::Hex;
    let mut out = Vec::new();
    assert_eq!(hex.write_text(b"\xff", &mut out), Ok(Written::Text));
    assert_eq!(out, b"FF0000");
}

#[test]
fn old_times() {
    assert_eq!(
        text(ColumnType::OldTimestamp, &1u32.to_le_bytes()),
        "1970-01-01 00:00:01"
    );
    assert_eq!(text(ColumnType::OldTime, &[0xff, 0xff, 0xff]), "-00:00:01");
    assert_eq!(
        text(ColumnType::OldDateTime, &20_261_128_110_000u64.to_le_bytes()),
        "2026-11-28 11:00:00"
    );
}

proptest! {
    #[test]
    fn escapes_as_the_slow_way(text in "[ -~\u{0}-\u{1f}\"\\\\é😀]{0,40}") {
        let mut out = Vec::new();
        escape(text.as_bytes(), &mut out);
        let mut slow = String::new();
        for char in text.chars() {
            match char {
                '"' => slow += "\\\"",
                '\\' => slow += "\\\\",
                '\n' => slow += "\\n",
                '\r' => slow += "\\r",
                '\t' => slow += "\\t",
                '\u{8}' => slow += "\\b",
                '\u{c}' => slow += "\\f",
                '\u{0}'..'\u{20}' => slow += &format!("\\u{:04x}", u32::from(char)),
                _ => slow.push(char),
            }
        }
        prop_assert_eq!(String::from_utf8(out).unwrap(), slow);
    }

    #[test]
    fn floats_read_back(bits: u64) {
        let (double, float) = (f64::from_bits(bits), f32::from_bits(bits as u32));
        let mut out = Vec::new();
        if double.is_finite() {
            write_double(double, &mut out);
            let back: f64 = std::str::from_utf8(&out).unwrap().parse().unwrap();
            prop_assert_eq!(back.to_bits(), double.to_bits());
        }
        out.clear();
        if float.is_finite() {
            write_float(float, &mut out);
            let back: f32 = std::str::from_utf8(&out).unwrap().parse().unwrap();
            prop_assert_eq!(back.to_bits(), float.to_bits());
        }
    }
}
