use super::*;
use crate::table::TableMap;

/// `t.t(a bigint unsigned, b varchar(300) utf8mb4, c mediumint)`, all may be NULL, names in the metadata.
const MAP: &[u8] = b"\x07\0\0\0\0\0\x01\0\x01t\0\x01t\0\x03\x08\x0f\x09\x02\xb0\x04\x07\x01\x01\x80\x02\x01\x2d\x04\x06\x01a\x01b\x01c\x08\x01\x00";

fn plan() -> Plan {
    let map = TableMap::parse(MAP).unwrap();
    assert_eq!(map.table_id, 7);
    assert!(map.has_full_metadata);
    let types: Vec<_> = map
        .columns
        .iter()
        .map(|column| format!("{} {}", column.name, column.mysql_type()))
        .collect();
    assert_eq!(types, ["a bigint unsigned", "b varchar(300)", "c mediumint"]);
    Plan::new(&map, &TextPolicy::default()).unwrap()
}

fn event(kind: u8, bitmaps: &[u8], data: &[u8]) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0];
    if kind >= header::WRITE_ROWS {
        body.extend([4, 0, 9, 9]);
    }
    body.push(3);
    body.extend(bitmaps);
    body.extend(data);
    assert!(header::has_rows(kind));
    body
}

/// All rows of both images as texts.
fn texts(kind: u8, body: &[u8]) -> Result<Vec<String>, Error> {
    let plan = plan();
    let event = RowsEvent::parse(kind, body)?;
    let mut reader = RowReader::new(&plan, &event)?;
    let (mut before, mut after) = (Row::default(), Row::default());
    let mut rows = Vec::new();
    while reader.next(&mut before, &mut after)? {
        let image = |row: &Row<'_>| -> Result<String, Error> {
            let mut text = String::new();
            for (at, column) in plan.columns().iter().enumerate() {
                match row.raw(at) {
                    Value::Null => text += "NULL ",
                    Value::Absent => text += "- ",
                    Value::Raw(raw) => {
                        let mut out = Vec::new();
                        column.write_text(raw, &mut out)?;
                        text += &String::from_utf8(out).unwrap();
                        text += " ";
                    }
                }
            }
            Ok(text)
        };
        rows.push(format!("{}> {}", image(&before)?, image(&after)?));
    }
    Ok(rows)
}

const ROW: &[u8] = b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\x02\x00hi\xff\xff\xff";

#[test]
fn rows_of_all_kinds() {
    let all = "18446744073709551615 hi -1 ";
    for kind in [header::WRITE_ROWS, header::WRITE_ROWS_V1] {
        let two = [ROW, ROW].concat();
        assert_eq!(
            texts(kind, &event(kind, &[7], &two)).unwrap(),
            vec![format!("- - - > {all}"); 2]
        );
    }
    for kind in [header::DELETE_ROWS, header::DELETE_ROWS_V1] {
        // A full bitmap may have ones above the last column.
        assert_eq!(
            texts(kind, &event(kind, &[0xff], ROW)).unwrap(),
            [format!("{all}> - - - ")]
        );
    }
    for kind in [header::UPDATE_ROWS, header::UPDATE_ROWS_V1] {
        // Before: only `a` and `c`, the latter NULL; after: only `b`.
        let body = event(kind, &[5, 2], b"\x02\x01\0\0\0\0\0\0\0\x00\x02\x00ho");
        assert_eq!(texts(kind, &body).unwrap(), ["1 - NULL > - ho - "]);
    }
}

#[test]
fn lengths_of_texts_take_two_bytes_from_256_on() {
    let read = |bytes_max: u16, data: &[u8]| {
        let mut map = TableMap::parse(MAP).unwrap();
        map.columns.truncate(2);
        map.columns[1].kind = crate::table::ColumnType::VarBinary { bytes_max };
        let plan = Plan::new(&map, &TextPolicy::default()).unwrap();
        let body = [&[7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 2, 2][..], data].concat();
        let event = RowsEvent::parse(header::WRITE_ROWS, &body).unwrap();
        let mut reader = RowReader::new(&plan, &event).unwrap();
        let (mut before, mut after) = (Row::default(), Row::default());
        reader.next(&mut before, &mut after).map(|_| match after.raw(1) {
            Value::Raw(raw) => raw.to_vec(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(read(255, b"\x00\x02\x00\x01").unwrap(), b"\x00\x01");
    assert_eq!(read(256, b"\x00\x02\x00ab").unwrap(), b"ab");
}

#[test]
fn damage_is_an_error_and_ends_the_rows() {
    let kind = header::WRITE_ROWS;
    let body = event(kind, &[7], ROW);
    for cut in 0..body.len() {
        // Cut between the head and the first row it is an event without rows.
        let empty = cut == body.len() - ROW.len();
        assert_eq!(texts(kind, &body[..cut]).is_err(), !empty, "{cut}");
    }
    let plan = plan();
    let body = event(kind, &[7], &[ROW, &ROW[..5]].concat());
    let mut reader = RowReader::new(&plan, &RowsEvent::parse(kind, &body).unwrap()).unwrap();
    let (mut before, mut after) = (Row::default(), Row::default());
    assert_eq!(reader.next(&mut before, &mut after), Ok(true));
    assert_eq!(reader.next(&mut before, &mut after), Err(Error::Short("a row")));
    assert_eq!(reader.next(&mut before, &mut after), Ok(false));
}

#[test]
fn a_row_of_defaults_only_has_no_bytes_and_is_a_row() {
    // As MySQL 9.7 writes `INSERT INTO t () VALUES ()` with binlog_row_image=MINIMAL, for another table.
    let kind = header::WRITE_ROWS;
    assert_eq!(texts(kind, &event(kind, &[0], b"")).unwrap(), ["- - - > - - - "]);
    assert!(texts(kind, &event(kind, &[7], b"")).unwrap().is_empty());
    assert!(
        texts(header::DELETE_ROWS, &event(header::DELETE_ROWS, &[0], b""))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn rows_without_columns_do_not_run_forever() {
    let kind = header::WRITE_ROWS;
    assert!(texts(kind, &event(kind, &[0], b"x")).is_err());
}

#[test]
fn another_tables_map_is_found_by_its_number_of_columns() {
    let mut body = event(header::WRITE_ROWS, &[7], ROW);
    body[12] = 4;
    assert!(texts(header::WRITE_ROWS, &body).is_err());
    assert!(RowsEvent::parse(header::PARTIAL_UPDATE_ROWS, &body).is_err());
}

#[test]
fn a_map_cut_anywhere_is_an_error_or_another_map() {
    for cut in 0..MAP.len() {
        if let Ok(map) = TableMap::parse(&MAP[..cut]) {
            let _ = Plan::new(&map, &TextPolicy::default());
        }
    }
}

#[test]
fn unknown_types_and_charsets_are_refused_by_name() {
    let mut map = TableMap::parse(MAP).unwrap();
    map.columns[1].kind = crate::table::ColumnType::VarChar {
        bytes_max: 3,
        collation: 10, // swe7
    };
    let error = Plan::new(&map, &TextPolicy::default()).unwrap_err();
    assert_eq!(error.column, "b");
    assert!(error.to_string().contains("collation 10"), "{error}");
    let mut bytes = MAP.to_vec();
    bytes[15] = 141;
    let error = TableMap::parse(&bytes).map(|map| Plan::new(&map, &TextPolicy::default()));
    assert!(!matches!(error, Ok(Ok(_))));
}
