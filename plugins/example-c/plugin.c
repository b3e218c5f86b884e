/**
 * An example of a plugin: lines of `name=value; name=value`, as older systems write them, become JSON records.
 *
 * What it does exactly is in the README beside it; the examples in AssemblyScript and Rust do the same. The configuration
 * is a list of fields, commas between, whose values become lower-case texts, such as e-mail addresses.
 */
#include "sealstream.h"

#define MAX_FIELDS 64
/* More digits than this may not come back from a double. */
#define MAX_DIGITS 15
#define MAX_CONFIG_BYTES 4096

static bool is_same(struct bytes a, struct bytes b) {
  if (a.length != b.length) return false;
  for (size_t i = 0; i < a.length; i++) {
    if (a.at[i] != b.at[i]) return false;
  }
  return true;
}

/** RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF. */
static bool is_utf8(struct bytes text) {
  for (size_t i = 0; i < text.length;) {
    uint8_t lead = text.at[i++];
    if (lead < 0x80) continue;
    if (lead < 0xc2 || lead > 0xf4) return false;
    size_t more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    if (text.length - i < more) return false;
    uint8_t least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (text.at[i] < least || text.at[i] > most) return false;
    for (size_t k = 1; k < more; k++) {
      if ((text.at[i + k] & 0xc0) != 0x80) return false;
    }
    i += more;
  }
  return true;
}

static bool is_space(uint8_t byte) { return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n'; }

static struct bytes trim(struct bytes text) {
  while (text.length > 0 && is_space(text.at[0])) text = (struct bytes){text.at + 1, text.length - 1};
  while (text.length > 0 && is_space(text.at[text.length - 1])) text.length--;
  return text;
}

/** First place of a byte from `from` on, or the length. */
static size_t find(struct bytes text, uint8_t byte, size_t from) {
  while (from < text.length && text.at[from] != byte) from++;
  return from;
}

static struct bytes part(struct bytes text, size_t from, size_t to) {
  return (struct bytes){text.at + from, to - from};
}

static size_t digits(struct bytes text, size_t from) {
  size_t at = from;
  while (at < text.length && text.at[at] >= '0' && text.at[at] <= '9') at++;
  return at - from;
}

/** Whether a value is a JSON number without exponent that a double holds exactly enough. */
static bool is_number(struct bytes text) {
  size_t start = text.length > 0 && text.at[0] == '-' ? 1 : 0;
  size_t whole = digits(text, start);
  if (whole == 0 || (whole > 1 && text.at[start] == '0')) return false;
  size_t at = start + whole;
  if (at == text.length) return whole <= MAX_DIGITS;
  if (text.at[at] != '.') return false;
  size_t behind = digits(text, at + 1);
  return behind > 0 && at + 1 + behind == text.length && whole + behind <= MAX_DIGITS;
}

static bool is_plain(struct bytes text) {
  static const uint8_t words[] = "truefalse";
  return is_number(text) || is_same(text, (struct bytes){words, 4}) || is_same(text, (struct bytes){words + 4, 5});
}

/** Whether the configuration lists a name. */
static bool is_lowered(struct bytes name, struct bytes config) {
  for (size_t at = 0; at < config.length;) {
    size_t comma = find(config, ',', at);
    if (is_same(name, trim(part(config, at, comma)))) return true;
    at = comma + 1;
  }
  return false;
}

static void put_string(struct bytes text, bool lower) {
  static const uint8_t hex[] = "0123456789abcdef";
  size_t done = 0;
  put('"');
  for (size_t i = 0; i < text.length; i++) {
    uint8_t byte = text.at[i];
    bool upper = lower && byte >= 'A' && byte <= 'Z';
    if (!upper && byte >= 0x20 && byte != '"' && byte != '\\') continue;
    put_bytes(text.at + done, i - done);
    done = i + 1;
    if (upper) {
      put(byte + 32);
    } else if (byte >= 0x20) {
      put('\\');
      put(byte);
    } else {
      put_bytes((const uint8_t *)"\\u00", 4);
      put(hex[byte >> 4]);
      put(hex[byte & 15]);
    }
  }
  put_bytes(text.at + done, text.length - done);
  put('"');
}

/** 1: not UTF-8, 2: too long. */
static int check_config(struct bytes config) {
  if (!is_utf8(config)) return 1;
  return config.length > MAX_CONFIG_BYTES ? 2 : 0;
}

static enum status row(struct bytes value, struct bytes config) {
  struct bytes names[MAX_FIELDS];
  size_t count = 0;
  if (!is_utf8(value)) return NOT_UTF8;
  if (value.length == 0 || value.at[0] == '#') return DROPPED;
  if (value.at[0] == '{') {
    put_bytes(value.at, value.length);
    return OK;
  }
  for (size_t at = 0; at < value.length;) {
    size_t stop = find(value, ';', at);
    struct bytes field = trim(part(value, at, stop));
    at = stop + 1;
    if (field.length == 0) continue;
    size_t equals = find(field, '=', 0);
    if (equals == field.length) return NOT_JSON;
    struct bytes name = trim(part(field, 0, equals));
    struct bytes text = trim(part(field, equals + 1, field.length));
    if (name.length == 0) return NOT_JSON;
    for (size_t i = 0; i < count; i++) {
      if (is_same(name, names[i])) return DUPLICATE_FIELD;
    }
    if (count == MAX_FIELDS) return TOO_LARGE;
    put(count == 0 ? '{' : ',');
    names[count++] = name;
    put_string(name, false);
    put(':');
    bool lower = is_lowered(name, config);
    if (!lower && is_plain(text)) put_bytes(text.at, text.length);
    else put_string(text, lower);
  }
  if (count == 0) return NOT_JSON;
  put('}');
  return OK;
}
