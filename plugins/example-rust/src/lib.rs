//! An example of a plugin: lines of `name=value; name=value`, as older systems write them, become JSON records.
//!
//! What it does exactly is in the README beside it; the examples in AssemblyScript and C do the same. The configuration is
//! a list of fields, commas between, whose values become lower-case texts, such as e-mail addresses.
#![no_std]

mod abi;

use abi::{Output, Status};

const MAX_FIELDS: usize = 64;
/// More digits than this may not come back from a double.
const MAX_DIGITS: usize = 15;
const MAX_CONFIG_BYTES: usize = 4096;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// 0, or what is wrong with a configuration: 1 not UTF-8, 2 too long.
pub fn check_config(config: &[u8]) -> i32 {
    if core::str::from_utf8(config).is_err() {
        return 1;
    }
    if config.len() > MAX_CONFIG_BYTES {
        return 2;
    }
    0
}

fn trim(mut text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    while let [first, rest @ ..] = text {
        if !is_space(first) {
            break;
        }
        text = rest;
    }
    while let [rest @ .., last] = text {
        if !is_space(last) {
            break;
        }
        text = rest;
    }
    text
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Whether a value is a JSON number without exponent that a double holds exactly enough.
fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return false;
    }
    match text[whole..].split_first() {
        None => whole <= MAX_DIGITS,
        Some((b'.', rest)) => {
            let behind = digits(rest);
            behind > 0 && behind == rest.len() && whole + behind <= MAX_DIGITS
        }
        Some(_) => false,
    }
}

fn write_string(text: &[u8], lower: bool, output: &mut Output) {
    output.byte(b'"');
    let mut done = 0;
    for (i, &byte) in text.iter().enumerate() {
        let upper = lower && byte.is_ascii_uppercase();
        if !upper && byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        output.bytes(&text[done..i]);
        done = i + 1;
        if upper {
            output.byte(byte.to_ascii_lowercase());
        } else if byte >= 0x20 {
            output.bytes(&[b'\\', byte]);
        } else {
            output.bytes(b"\\u00");
            output.bytes(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    output.bytes(&text[done..]);
    output.byte(b'"');
}

/// Does one row: writes its value, and answers its status.
pub fn row(value: &[u8], config: &[u8], output: &mut Output) -> Status {
    if core::str::from_utf8(value).is_err() {
        return Status::NotUtf8;
    }
    match value.first() {
        None | Some(b'#') => return Status::Dropped,
        Some(b'{') => {
            output.bytes(value);
            return Status::Ok;
        }
        Some(_) => {}
    }
    let mut names: [&[u8]; MAX_FIELDS] = [b""; MAX_FIELDS];
    let mut count = 0;
    for part in value.split(|&byte| byte == b';').map(trim) {
        if part.is_empty() {
            continue;
        }
        let equals = match part.iter().position(|&byte| byte == b'=') {
            Some(equals) => equals,
            None => return Status::NotJson,
        };
        let name = trim(&part[..equals]);
        let value = trim(&part[equals + 1..]);
        if name.is_empty() {
            return Status::NotJson;
        }
        if names[..count].contains(&name) {
            return Status::DuplicateField;
        }
        if count == MAX_FIELDS {
            return Status::TooLarge;
        }
        names[count] = name;
        output.byte(if count == 0 { b'{' } else { b',' });
        count += 1;
        write_string(name, false, output);
        output.byte(b':');
        let lower = config.split(|&byte| byte == b',').any(|field| trim(field) == name);
        if !lower && (is_number(value) || value == b"true" || value == b"false") {
            output.bytes(value);
        } else {
            write_string(value, lower, output);
        }
    }
    if count == 0 {
        return Status::NotJson;
    }
    output.byte(b'}');
    Status::Ok
}
